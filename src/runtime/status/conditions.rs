//! Conditions of a status, as Kubernetes defines them: the time of a transition, and comparison without times and
//! order.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Sets the time of a condition: that of the last change of its status, not of its reason or message. A condition whose
/// status is as stored keeps the stored time.
pub(crate) fn with_transition_time(
    mut condition: Condition,
    stored: &[Condition],
    now: Timestamp,
) -> Condition {
    let kept = stored
        .iter()
        .find(|known| known.type_ == condition.type_ && known.status == condition.status)
        // The default of the definition, which is no transition.
        .filter(|known| known.last_transition_time.0 != Timestamp::UNIX_EPOCH)
        .map(|known| known.last_transition_time.clone());
    condition.last_transition_time = kept.unwrap_or_else(|| Time(whole_seconds(now)));
    condition
}

/// Removes the fraction of a second: Kubernetes stores these times in whole seconds.
pub(crate) fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Sorts conditions and removes their times, to compare two lists. Types are unique in a list.
pub(crate) fn normalize(conditions: &mut [Condition]) {
    for condition in conditions.iter_mut() {
        condition.last_transition_time.0 = Timestamp::UNIX_EPOCH;
    }
    conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(status: &str, time: Timestamp) -> Condition {
        Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: "Pending".to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(time),
        }
    }

    #[test]
    fn the_default_of_the_definition_is_no_transition() {
        let second = |second| Timestamp::from_second(second).unwrap_or_default();
        let (past, now) = (second(1_000_000), second(2_000_000));
        for (stored, expected) in [
            (condition("Unknown", past), past),
            (condition("True", past), now),
            (condition("Unknown", Timestamp::UNIX_EPOCH), now),
        ] {
            let found = with_transition_time(condition("Unknown", now), &[stored], now);
            assert_eq!(found.last_transition_time.0, expected);
        }
    }
}
