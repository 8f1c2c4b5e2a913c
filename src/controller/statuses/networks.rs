//! Desired status of a `VirtualNetwork`. Pure. It shows nothing about pods or policies: everybody who may name a
//! network in a rule may read it.

use jiff::Timestamp;

use super::StatusOnly;
use super::conditions::{Verdict, conditions};
use super::state::Stored;
use crate::api::{NETWORK_CONDITIONS, VirtualNetwork, VirtualNetworkStatus};
use crate::controller::debounce::Urgency;
use crate::policy::ValidatedVirtualNetwork;
use crate::runtime::operations::metrics::number;
use crate::runtime::status::conditions::normalize;

/// The kind `VirtualNetwork`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks;

/// Numbers of a network's subnets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubnetCounts {
    pub(crate) all: usize,
    /// Subnets with the vaults' service endpoint.
    pub(crate) enabled: usize,
}

impl SubnetCounts {
    /// Counts the subnets of a valid network.
    pub(crate) fn of(network: &ValidatedVirtualNetwork) -> Self {
        let subnets = &network.subnets;
        let enabled = subnets.iter().filter(|subnet| subnet.service_endpoint);
        Self {
            all: subnets.len(),
            enabled: enabled.count(),
        }
    }
}

impl StatusOnly for Networks {
    type Resource = VirtualNetwork;
    type Status = VirtualNetworkStatus;
    type Facts = SubnetCounts;
    const METRIC: &'static str = "VirtualNetwork/status";
    const SHORT_NAME: &'static str = "vnet";

    fn status_of(network: &Stored<Self>, now: Timestamp) -> VirtualNetworkStatus {
        let stored = network.status.as_ref();
        let stored = stored.map_or(&[][..], |status| &status.conditions);
        let generation = network.generation;
        let verdict = match &network.read {
            Ok(_) => Verdict::accepted(generation),
            Err(violations) => {
                let instead = if network.has_earlier {
                    "its last valid generation stays in force"
                } else {
                    "rules that name it allow nothing"
                };
                Verdict::invalid(generation, violations, instead)
            }
        };
        let own = NETWORK_CONDITIONS.map(|kind| (kind, verdict.clone()));
        let counts = network.read.as_ref().ok();
        VirtualNetworkStatus {
            observed_generation: Some(generation),
            conditions: conditions(&own, stored, generation, now),
            subnets: counts.map(|counts| number(counts.all)),
            enabled_subnets: counts.map(|counts| number(counts.enabled)),
        }
    }

    fn urgency(stored: Option<&VirtualNetworkStatus>, desired: &VirtualNetworkStatus) -> Urgency {
        let normalized = |status: &VirtualNetworkStatus| {
            let mut status = status.clone();
            normalize(&mut status.conditions);
            status
        };
        if stored.is_some_and(|stored| normalized(stored) == normalized(desired)) {
            Urgency::None
        } else {
            Urgency::Now
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    use super::*;
    use crate::policy::{Violation, ViolationReason};

    fn network(read: Result<SubnetCounts, Vec<Violation>>, has_earlier: bool) -> Stored<Networks> {
        Stored {
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
        let valid = Networks::status_of(&network(Ok(counts), true), now);
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
            let invalid =
                Networks::status_of(&network(Err(vec![violation.clone()]), has_earlier), now);
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
        let mut status = Networks::status_of(&stored, now);
        let other = Condition {
            type_: "example.com/Checked".into(),
            ..status.conditions.first().unwrap().clone()
        };
        status.conditions.insert(0, other.clone());
        stored.status = Some(status.clone());
        let later = "2026-05-02T00:00:00Z".parse().unwrap();
        let desired = Networks::status_of(&stored, later);
        assert!(desired.conditions.contains(&other));
        assert_eq!(Networks::urgency(Some(&status), &desired), Urgency::None);
        let time = |status: &VirtualNetworkStatus| {
            let own = status
                .conditions
                .iter()
                .find(|found| found.type_ == "Ready");
            own.unwrap().last_transition_time.clone()
        };
        assert_eq!(time(&status), time(&desired));
        assert_eq!(Networks::urgency(None, &desired), Urgency::Now);
    }
}
