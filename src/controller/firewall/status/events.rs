//! Events of a new status: one for each transition, none for an unchanged condition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::reason::{ConditionType, Reason, Verdict};
use super::warnings::MORE_WARNINGS;
use crate::api::{PolicyWarning, VaultNetworkPolicyStatus};
use crate::policy::VaultId;
use crate::runtime::events::{EventKind, EventNote};
use crate::runtime::status::text;

/// Longest note of an event, in bytes; the API server rejects a longer one.
pub const NOTE_LENGTH: usize = 1024;

/// Returns the events of the change from the stored status to the desired one.
pub fn events(
    stored: Option<&VaultNetworkPolicyStatus>,
    wanted: &VaultNetworkPolicyStatus,
) -> Vec<EventNote> {
    let before = stored.map_or(&[][..], |stored| &stored.conditions);
    let conditions = ConditionType::ALL.iter().filter_map(|kind| {
        let now = of_type(&wanted.conditions, *kind)?;
        transition(*kind, of_type(before, *kind), now)
    });
    let warned = stored.map_or(&[][..], |stored| &stored.warnings);
    let warnings = wanted
        .warnings
        .iter()
        .filter(|warning| warning.reason != MORE_WARNINGS)
        // The addresses in the message of a known warning may change with every pod.
        .filter(|warning| !warned.iter().any(|known| is_same(known, warning)))
        .map(|warning| EventNote {
            kind: EventKind::Warning,
            reason: warning.reason.clone(),
            action: "Resolve",
            note: one_line(&format!("{}: {}", warning.field, warning.message)),
        });
    conditions.chain(warnings).collect()
}

/// Returns the event about a vault whose last policy was deleted.
pub(crate) fn firewall_removed(vault: &VaultId) -> EventNote {
    EventNote {
        kind: EventKind::Warning,
        reason: "FirewallRemoved".to_owned(),
        action: "Remove",
        note: format!(
            "the last VaultNetworkPolicy of the vault {vault} was deleted, so its firewall is deleted too: no rule \
             applies any more, and every client that no other NetworkPolicy stops can reach the vault's pods; apply a \
             VaultNetworkPolicy to protect it again"
        ),
    }
}

fn of_type(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.name())
}

fn is_same(one: &PolicyWarning, other: &PolicyWarning) -> bool {
    (&one.reason, &one.field) == (&other.reason, &other.field)
}

/// Returns an event if status or reason of a condition changed; another message is no transition.
fn transition(
    kind: ConditionType,
    before: Option<&Condition>,
    now: &Condition,
) -> Option<EventNote> {
    if before.is_some_and(|before| before.status == now.status && before.reason == now.reason) {
        return None;
    }
    let was_good = before.is_none_or(|before| {
        before.status == good(kind).name() || before.reason == Reason::Pending.name()
    });
    let is_good = now.status == good(kind).name();
    let is_reported = match kind {
        ConditionType::Accepted => now.status != Verdict::Unknown.name(),
        // A condition that was good and stays good is no transition.
        ConditionType::ResolvedRefs | ConditionType::Conflicted => {
            now.status != Verdict::Unknown.name() && !(is_good && was_good)
        }
        ConditionType::Programmed => is_good || is_reported_problem(before, now),
        // It repeats the others.
        ConditionType::Ready => false,
    };
    is_reported.then(|| EventNote {
        kind: if is_good {
            EventKind::Normal
        } else {
            EventKind::Warning
        },
        reason: now.reason.clone(),
        action: match kind {
            ConditionType::Accepted => "Validate",
            ConditionType::ResolvedRefs | ConditionType::Conflicted => "Resolve",
            ConditionType::Programmed | ConditionType::Ready => "Program",
        },
        note: one_line(&now.message),
    })
}

/// Whether a problem of `Programmed` gets an event. `Pending` passes, acceptance and target have conditions of their
/// own, and proxies that were never connected are only starting.
fn is_reported_problem(before: Option<&Condition>, now: &Condition) -> bool {
    let is = |reason: Reason| now.reason == reason.name();
    let was_programmed = before.is_some_and(|before| before.status == Verdict::True.name());
    is(Reason::Rejected)
        || is(Reason::ApplyFailed)
        || is(Reason::NamespaceTerminating)
        || is(Reason::NoEndpoints) && was_programmed
        || is(Reason::NoProxies) && was_programmed
}

fn good(kind: ConditionType) -> Verdict {
    match kind {
        ConditionType::Conflicted => Verdict::False,
        _ => Verdict::True,
    }
}

/// Joins the lines of a message, because `kubectl get events` shows one line.
fn one_line(text: &str) -> String {
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let rest: Vec<&str> = lines.collect();
    let line = if rest.is_empty() {
        heading.to_owned()
    } else {
        format!("{heading} {}", rest.join("; "))
    };
    text::shortened_bytes(&line, NOTE_LENGTH)
}
