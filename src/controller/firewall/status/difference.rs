//! Differences between two statuses, and how soon they are written. Times and order are no difference: a write without
//! a change wakes every watcher, the operator included.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::reason::{ConditionType, Reason, is_own};
use super::warnings::{ADDRESS_CONTESTED, MORE_WARNINGS};
use crate::api::{PolicyWarning, VaultNetworkPolicyStatus};
use crate::controller::debounce::Urgency;
use crate::runtime::status::conditions::normalize;

/// Kind of difference between two statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// No difference, except for times and order.
    None,
    /// A difference in values that follow pods and proxies: counts, the message of `Programmed`, warnings about
    /// addresses. The write can wait, so that a busy cluster does not cost a write for every pod and policy.
    Minor,
    /// A difference in anything else, which people wait for.
    Major,
}

/// Returns how soon the desired status must be written. `reconnecting`: proxies may still be about to connect to this
/// replica, so a restart of the operator alone must not make `Programmed` unknown.
pub fn urgency(
    stored: Option<&VaultNetworkPolicyStatus>,
    desired: &VaultNetworkPolicyStatus,
    reconnecting: bool,
) -> Urgency {
    match difference(stored, desired) {
        Difference::None => Urgency::None,
        _ if reconnecting && only_proxies_are_missing(stored, desired) => Urgency::Reconnecting,
        // A pending state was pending before, so it lasts.
        Difference::Minor => Urgency::Counting,
        Difference::Major if !is_settled(desired) => Urgency::Settling,
        Difference::Major => Urgency::Now,
    }
}

/// Whether the only change is that proxies which enforced this generation are not connected.
fn only_proxies_are_missing(
    stored: Option<&VaultNetworkPolicyStatus>,
    desired: &VaultNetworkPolicyStatus,
) -> bool {
    let reason_is = |status: &VaultNetworkPolicyStatus, reason: Reason| {
        let mut conditions = status.conditions.iter();
        conditions.any(|found| {
            found.type_ == ConditionType::Programmed.name()
                && found.observed_generation == desired.observed_generation
                && found.reason == reason.name()
        })
    };
    stored.is_some_and(|stored| reason_is(stored, Reason::Programmed))
        && reason_is(desired, Reason::NoProxies)
}

/// Compares the desired status with the stored one.
pub fn difference(
    stored: Option<&VaultNetworkPolicyStatus>,
    desired: &VaultNetworkPolicyStatus,
) -> Difference {
    let Some(stored) = stored else {
        return Difference::Major;
    };
    if normalized(stored) == normalized(desired) {
        Difference::None
    } else if lasting(stored) == lasting(desired) {
        Difference::Minor
    } else {
        Difference::Major
    }
}

/// Whether the status stays as it is without another event. While proxies apply a change, which usually takes
/// milliseconds, it does not: the write waits a moment for their acknowledgement, and `Pending` is written only if
/// it lasts.
pub fn is_settled(desired: &VaultNetworkPolicyStatus) -> bool {
    let pending = Reason::Pending.name();
    !desired
        .conditions
        .iter()
        .any(|found| is_own(found) && found.reason == pending)
}

/// Returns the status with sorted lists and without times.
fn normalized(status: &VaultNetworkPolicyStatus) -> VaultNetworkPolicyStatus {
    let mut status = status.clone();
    status.programmed_since = None;
    normalize(&mut status.conditions);
    sort(&mut status.warnings);
    status
}

/// Returns the status without the values that follow pods and proxies.
fn lasting(status: &VaultNetworkPolicyStatus) -> VaultNetworkPolicyStatus {
    let mut status = normalized(status);
    status.addresses = None;
    status.proxies = None;
    status
        .conditions
        .iter_mut()
        .filter(|condition| follows_proxies(condition))
        .for_each(|condition| condition.message.clear());
    status
        .warnings
        .retain(|warning| warning.reason != ADDRESS_CONTESTED && warning.reason != MORE_WARNINGS);
    status
}

/// Whether the message of the condition counts proxies.
fn follows_proxies(condition: &Condition) -> bool {
    let proxies = [ConditionType::Programmed, ConditionType::Ready];
    proxies.iter().any(|kind| condition.type_ == kind.name())
}

fn sort(warnings: &mut [PolicyWarning]) {
    warnings.sort_by(|one, other| {
        (&one.reason, &one.field, &one.message).cmp(&(&other.reason, &other.field, &other.message))
    });
}
