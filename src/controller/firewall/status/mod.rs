//! Desired status of a `VaultNetworkPolicy`, and the events of its changes.
//!
//! Pure: the input is the observed state, the output a status. No client and no clock; another module writes.
//!
//! | module | content |
//! |---|---|
//! | [`conditions`] | reasons and messages of the conditions |
//! | [`difference`] | whether and when a changed status is written |
//! | [`events`] | events of transitions |
//! | [`observed`] | input of the status |
//! | [`programmed`] | the condition `Programmed` |
//! | [`reason`] | all conditions, statuses and reasons |
//! | [`warnings`] | problems for which nothing is rejected |

mod conditions;
mod difference;
mod events;
mod observed;
mod programmed;
mod reason;

mod warnings;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use difference::{Difference, difference, is_settled, urgency};
pub(crate) use events::firewall_removed;
pub use events::{NOTE_LENGTH, events};
pub use observed::{
    EarlierPolicy, PlainHttp, PolicySeen, RuleCounts, TargetProblem, VaultSeen, target_of,
};
pub use reason::{ConditionType, MEANINGS, Reason, Verdict};
pub use warnings::WARNINGS;

use crate::api::VaultNetworkPolicyStatus;
use crate::policy::Peer;
use crate::runtime::operations::metrics::number;
use crate::runtime::status::conditions::{whole_seconds, with_transition_time};

/// Returns the desired status of a policy. Conditions of other writers are kept as they are stored.
pub fn status_of(
    policy: &PolicySeen<'_>,
    vault: &VaultSeen<'_>,
    now: Timestamp,
) -> VaultNetworkPolicyStatus {
    let stored = policy.status.map_or(&[][..], |status| &status.conditions);
    let evaluation = conditions::Evaluation { policy, vault };
    let mut conditions: Vec<Condition> = evaluation
        .all()
        .into_iter()
        .map(|entry| condition(entry, policy.generation, stored, now))
        .collect();
    conditions.extend(
        stored
            .iter()
            .filter(|found| !reason::is_own(found))
            .cloned(),
    );
    VaultNetworkPolicyStatus {
        observed_generation: Some(policy.generation),
        programmed_since: programmed_since(policy, &conditions, now),
        conditions,
        endpoint: vault.endpoint.clone(),
        management_endpoint: vault.management_endpoint.clone(),
        mode: vault.resolution.map(|seen| seen.resolution.firewall.mode),
        proxies: Some(evaluation.proxies()),
        virtual_network_rules: policy.rules.map(|rules| number(rules.virtual_networks)),
        ip_rules: policy.rules.map(|rules| number(rules.ip)),
        addresses: vault.resolution.map(|seen| {
            // Without pods: their number would show which pods there are in the namespaces of others.
            let peers = seen.resolution.firewall.peers.iter();
            number(peers.filter(|peer| matches!(peer, Peer::Block(_))).count())
        }),
        warnings: warnings::warnings(policy, vault),
    }
}

/// Returns the time since which the proxies enforce the policy's generation, if they do.
fn programmed_since(
    policy: &PolicySeen<'_>,
    conditions: &[Condition],
    now: Timestamp,
) -> Option<Time> {
    let programmed = ConditionType::Programmed.name();
    let mut conditions = conditions.iter();
    let is_programmed =
        conditions.any(|found| found.type_ == programmed && found.status == Verdict::True.name());
    let known = policy.status.and_then(|status| {
        let is_same = status.observed_generation == Some(policy.generation);
        status.programmed_since.clone().filter(|_| is_same)
    });
    is_programmed.then(|| known.unwrap_or_else(|| Time(whole_seconds(now))))
}

/// Returns a condition in its stored form.
fn condition(
    entry: conditions::Entry,
    generation: i64,
    stored: &[Condition],
    now: Timestamp,
) -> Condition {
    let condition = Condition {
        type_: entry.kind.name().to_owned(),
        status: entry.kind.verdict(entry.reason).name().to_owned(),
        reason: entry.reason.name().to_owned(),
        message: entry.message,
        observed_generation: Some(generation),
        last_transition_time: Time(now),
    };
    with_transition_time(condition, stored, now)
}

#[cfg(test)]
mod tests;
