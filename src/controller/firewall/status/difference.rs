//! What of a status is worth a write, and when. Times and order never are: a write that changes nothing wakes everybody
//! who watches, the operator first.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::reason::{ConditionType, Reason};
use crate::api::{PolicyWarning, VaultNetworkPolicyStatus};

/// How much two statuses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Not at all, but for times and order.
    None,
    /// In what follows the coming and going of pods and proxies: counts, the words of `Programmed`, warnings about
    /// addresses. Writing it can wait, so that a busy cluster does not cost a write for every pod and policy.
    Minor,
    /// In what people wait for.
    Major,
}

/// How soon a status has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Never: nothing differs.
    None,
    /// Not before proxies had the time to come back.
    Reconnecting,
    /// Unless it passes in a moment.
    Settling,
    /// With what else will have changed a little later.
    Counting,
    /// At once.
    Now,
}

/// How soon the wanted status has to be written. `reconnecting`: proxies may be on their way to this replica yet, so that
/// a policy is not said to be unknown because the operator was started again.
pub fn urgency(
    stored: Option<&VaultNetworkPolicyStatus>,
    wanted: &VaultNetworkPolicyStatus,
    reconnecting: bool,
) -> Urgency {
    match difference(stored, wanted) {
        Difference::None => Urgency::None,
        _ if reconnecting && lacks_proxies(stored, wanted) => Urgency::Reconnecting,
        // What is pending was so before: it lasts.
        Difference::Minor => Urgency::Counting,
        Difference::Major if !is_settled(wanted) => Urgency::Settling,
        Difference::Major => Urgency::Now,
    }
}

/// Whether all that is new is that proxies which had this generation in force are not heard.
fn lacks_proxies(
    stored: Option<&VaultNetworkPolicyStatus>,
    wanted: &VaultNetworkPolicyStatus,
) -> bool {
    let reason_is = |status: &VaultNetworkPolicyStatus, reason: Reason| {
        let mut conditions = status.conditions.iter();
        conditions.any(|found| {
            found.type_ == ConditionType::Programmed.name()
                && found.observed_generation == wanted.observed_generation
                && found.reason == reason.name()
        })
    };
    stored.is_some_and(|stored| reason_is(stored, Reason::Programmed))
        && reason_is(wanted, Reason::NoProxies)
}

/// Whether the wanted status says anything that the stored one does not.
pub fn differs(
    stored: Option<&VaultNetworkPolicyStatus>,
    wanted: &VaultNetworkPolicyStatus,
) -> bool {
    difference(stored, wanted) != Difference::None
}

/// How much the wanted status differs from the stored one.
pub fn difference(
    stored: Option<&VaultNetworkPolicyStatus>,
    wanted: &VaultNetworkPolicyStatus,
) -> Difference {
    let Some(stored) = stored else {
        return Difference::Major;
    };
    if without_times_and_order(stored) == without_times_and_order(wanted) {
        Difference::None
    } else if lasting(stored) == lasting(wanted) {
        Difference::Minor
    } else {
        Difference::Major
    }
}

/// Whether the status will stay as it is unless something happens. While proxies are being told, which mostly takes
/// milliseconds, it will not: whoever writes waits a little for their answer, and writes `Pending` only when it lasts.
pub fn is_settled(wanted: &VaultNetworkPolicyStatus) -> bool {
    let pending = Reason::Pending.name();
    !wanted
        .conditions
        .iter()
        .any(|found| super::is_ours(found) && found.reason == pending)
}

/// The conditions of one order, and nothing of the times. Types are unique in a list.
fn without_times_and_order(status: &VaultNetworkPolicyStatus) -> VaultNetworkPolicyStatus {
    let mut status = status.clone();
    for condition in &mut status.conditions {
        condition.last_transition_time.0 = jiff::Timestamp::UNIX_EPOCH;
    }
    status
        .conditions
        .sort_by(|one, other| one.type_.cmp(&other.type_));
    sort(&mut status.warnings);
    status
}

/// What does not follow the coming and going of pods and proxies.
fn lasting(status: &VaultNetworkPolicyStatus) -> VaultNetworkPolicyStatus {
    let mut status = without_times_and_order(status);
    status.addresses = None;
    status.proxies = None;
    status
        .conditions
        .iter_mut()
        .filter(|condition| follows_proxies(condition))
        .for_each(|condition| condition.message.clear());
    status.warnings.retain(|warning| {
        warning.reason != super::ADDRESS_CONTESTED && warning.reason != super::MORE_WARNINGS
    });
    status
}

/// The words of which count proxies.
fn follows_proxies(condition: &Condition) -> bool {
    condition.type_ == ConditionType::Programmed.name()
}

fn sort(warnings: &mut [PolicyWarning]) {
    warnings.sort_by(|one, other| {
        (&one.reason, &one.field, &one.message).cmp(&(&other.reason, &other.field, &other.message))
    });
}
