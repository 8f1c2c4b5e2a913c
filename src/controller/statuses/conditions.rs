//! Conditions of the kinds that have nothing but a status. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::MESSAGE_LENGTH;
use crate::policy::Violation;
use crate::runtime::status::conditions::with_transition_time;
use crate::runtime::status::text;

/// Verdict of a condition.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) is_true: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Verdict {
    /// Verdict about a valid generation.
    pub(super) fn accepted(generation: i64) -> Self {
        Self {
            is_true: true,
            reason: "Accepted",
            message: format!("generation {generation} is valid"),
        }
    }

    /// Verdict about an invalid generation: the fields, and what is in force instead.
    pub(super) fn invalid(generation: i64, violations: &[Violation], instead: &str) -> Self {
        let heading = format!(
            "generation {generation} is rejected as a whole, and {instead}. Correct these fields:"
        );
        let lines = violations
            .iter()
            .map(|violation| format!("{}: {}", violation.field, violation.message));
        Self {
            is_true: false,
            reason: "Invalid",
            message: text::list(&heading, lines, MESSAGE_LENGTH),
        }
    }
}

/// Returns the conditions of the given types, and those of other writers as they are stored.
pub(super) fn conditions(
    own: &[(&str, Verdict)],
    stored: &[Condition],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |(kind, verdict): &(&str, Verdict)| Condition {
        type_: (*kind).to_owned(),
        status: if verdict.is_true { "True" } else { "False" }.to_owned(),
        reason: verdict.reason.to_owned(),
        message: verdict.message.clone(),
        observed_generation: Some(generation),
        last_transition_time: Time(now),
    };
    let is_own = |found: &Condition| own.iter().any(|(kind, _)| *kind == found.type_);
    let others = stored.iter().filter(|found| !is_own(found));
    own.iter()
        .map(|verdict| with_transition_time(condition(verdict), stored, now))
        .chain(others.cloned())
        .collect()
}
