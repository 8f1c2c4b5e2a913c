//! Desired status of a `VirtualNetwork`. Pure. It shows nothing about pods or policies: everybody who may name a
//! network in a rule may read it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::state::StoredNetwork;
use crate::api::{MESSAGE_LENGTH, NETWORK_CONDITIONS, VirtualNetworkStatus};
use crate::policy::Violation;
use crate::runtime::operations::metrics::number;
use crate::runtime::status::conditions::{normalize, with_transition_time};
use crate::runtime::status::text;

/// Returns the desired status. Conditions of other writers are kept as they are stored.
pub(super) fn status_of(network: &StoredNetwork, now: Timestamp) -> VirtualNetworkStatus {
    let stored = network
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let generation = network.generation;
    let (is_valid, reason, message) = match &network.read {
        Ok(_) => (
            true,
            "Accepted",
            format!("generation {generation} is valid"),
        ),
        Err(violations) => (false, "Invalid", errors(network, violations)),
    };
    let condition = |kind: &str| Condition {
        type_: kind.to_owned(),
        status: if is_valid { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.clone(),
        observed_generation: Some(generation),
        last_transition_time: Time(now),
    };
    let own = NETWORK_CONDITIONS.iter();
    let mut conditions: Vec<Condition> = own
        .map(|kind| with_transition_time(condition(kind), stored, now))
        .collect();
    let others = stored
        .iter()
        .filter(|found| !NETWORK_CONDITIONS.contains(&found.type_.as_str()));
    conditions.extend(others.cloned());
    let counts = network.read.as_ref().ok();
    VirtualNetworkStatus {
        observed_generation: Some(generation),
        conditions,
        subnets: counts.map(|counts| number(counts.all)),
        enabled_subnets: counts.map(|counts| number(counts.enabled)),
    }
}

/// Message about an invalid generation: the fields, and what is in force instead.
fn errors(network: &StoredNetwork, violations: &[Violation]) -> String {
    let instead = if network.has_earlier {
        "its last valid generation stays in force"
    } else {
        "rules that name it allow nothing"
    };
    let heading = format!(
        "generation {} is rejected as a whole, and {instead}. Correct these fields:",
        network.generation
    );
    let lines = violations
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.message));
    text::list(&heading, lines, MESSAGE_LENGTH)
}

/// Whether a stored status needs no write; times and order are no difference.
pub(super) fn is_same(
    stored: Option<&VirtualNetworkStatus>,
    desired: &VirtualNetworkStatus,
) -> bool {
    let normalized = |status: &VirtualNetworkStatus| {
        let mut status = status.clone();
        normalize(&mut status.conditions);
        status
    };
    stored.is_some_and(|stored| normalized(stored) == normalized(desired))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::state::SubnetCounts;
    use super::*;
    use crate::policy::ViolationReason;

    fn network(read: Result<SubnetCounts, Vec<Violation>>, has_earlier: bool) -> StoredNetwork {
        StoredNetwork {
            uid: "1".into(),
            version: 7,
            generation: 3,
            status: None,
            read,
            has_earlier,
        }
    }

    #[test]
    fn an_invalid_network_names_its_fields_and_the_effect() {
        let now = "2026-05-01T00:00:00Z".parse().unwrap();
        let counts = SubnetCounts { all: 2, enabled: 1 };
        let valid = status_of(&network(Ok(counts), true), now);
        assert_eq!((valid.subnets, valid.enabled_subnets), (Some(2), Some(1)));
        let types = valid.conditions.iter().map(|found| found.type_.as_str());
        assert_eq!(types.collect::<Vec<_>>(), NETWORK_CONDITIONS);
        assert!(valid.conditions.iter().all(|found| found.status == "True"));

        let field = "spec.subnets[0].addressPrefixes[0]";
        let violation = Violation::new(field, ViolationReason::Invalid, "is public".to_owned());
        for (has_earlier, effect) in [
            (true, "its last valid generation stays in force"),
            (false, "rules that name it allow nothing"),
        ] {
            let invalid = status_of(&network(Err(vec![violation.clone()]), has_earlier), now);
            assert_eq!(invalid.subnets, None);
            for found in &invalid.conditions {
                assert_eq!((&*found.status, &*found.reason), ("False", "Invalid"));
                let message = format!(
                    "generation 3 is rejected as a whole, and {effect}. Correct these fields:\n{field}: is public"
                );
                assert_eq!(found.message, message);
            }
        }
    }

    #[test]
    fn conditions_of_others_stay_and_an_equal_status_is_not_written() {
        let now = "2026-05-01T00:00:00Z".parse().unwrap();
        let mut stored = network(Ok(SubnetCounts::default()), true);
        let mut status = status_of(&stored, now);
        let other = Condition {
            type_: "example.com/Checked".into(),
            ..status.conditions.first().unwrap().clone()
        };
        status.conditions.insert(0, other.clone());
        stored.status = Some(status.clone());
        let later = "2026-05-02T00:00:00Z".parse().unwrap();
        let desired = status_of(&stored, later);
        assert!(desired.conditions.contains(&other));
        assert!(is_same(Some(&status), &desired));
        let time = |status: &VirtualNetworkStatus| {
            let own = status
                .conditions
                .iter()
                .find(|found| found.type_ == "Ready");
            own.unwrap().last_transition_time.clone()
        };
        assert_eq!(time(&status), time(&desired));
        assert!(!is_same(None, &desired));
    }
}
