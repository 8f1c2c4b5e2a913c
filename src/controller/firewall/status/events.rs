//! Which events a new status is worth: one for each real transition, none for what is as it was.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::reason::{ConditionType, Reason, Verdict};
use super::text;
use crate::api::{PolicyWarning, VaultNetworkPolicyStatus};

/// Longest note of an event, in bytes; the API server refuses a longer one.
pub const NOTE_LENGTH: usize = 1024;

/// Whether an event asks for somebody's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It is good news, or none.
    Normal,
    /// Somebody should look at it.
    Warning,
}

/// An event about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// Whether it asks for attention.
    pub kind: EventKind,
    /// Why: the reason of a condition or of a warning.
    pub reason: String,
    /// What the operator was doing.
    pub action: &'static str,
    /// What is so, and what to do; one line.
    pub note: String,
}

/// The events between the stored status and the wanted one.
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
        .filter(|warning| warning.reason != super::MORE_WARNINGS)
        // Addresses in the words of a known warning may change with every pod.
        .filter(|warning| !warned.iter().any(|known| is_same(known, warning)))
        .map(|warning| EventNote {
            kind: EventKind::Warning,
            reason: warning.reason.clone(),
            action: "Resolve",
            note: one_line(&format!("{}: {}", warning.field, warning.message)),
        });
    conditions.chain(warnings).collect()
}

fn of_type(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.name())
}

fn is_same(one: &PolicyWarning, other: &PolicyWarning) -> bool {
    (&one.reason, &one.field) == (&other.reason, &other.field)
}

/// A condition with another status or reason than before is a transition; other words are none.
fn transition(
    kind: ConditionType,
    before: Option<&Condition>,
    now: &Condition,
) -> Option<EventNote> {
    if before.is_some_and(|before| before.status == now.status && before.reason == now.reason) {
        return None;
    }
    let was_good = before.is_none_or(|before| before.status == good(kind).name());
    let is_good = now.status == good(kind).name();
    let is_news = match kind {
        ConditionType::Accepted => now.status != Verdict::Unknown.name(),
        // What was never bad and is not bad now is no news.
        ConditionType::ResolvedRefs | ConditionType::Conflicted => {
            now.status != Verdict::Unknown.name() && !(is_good && was_good)
        }
        ConditionType::Programmed => is_good || is_news_of_proxies(before, now),
    };
    is_news.then(|| EventNote {
        kind: if is_good {
            EventKind::Normal
        } else {
            EventKind::Warning
        },
        reason: now.reason.clone(),
        action: match kind {
            ConditionType::Accepted => "Validate",
            ConditionType::ResolvedRefs | ConditionType::Conflicted => "Resolve",
            ConditionType::Programmed => "Program",
        },
        note: one_line(&now.message),
    })
}

/// Pending passes, an acceptance or a target is told of by its own condition, and proxies that were never there are
/// only starting.
fn is_news_of_proxies(before: Option<&Condition>, now: &Condition) -> bool {
    let is = |reason: Reason| now.reason == reason.name();
    is(Reason::Rejected)
        || is(Reason::ApplyFailed)
        || is(Reason::NamespaceTerminating)
        || is(Reason::NoProxies)
            && before.is_some_and(|before| before.status == Verdict::True.name())
}

fn good(kind: ConditionType) -> Verdict {
    match kind {
        ConditionType::Conflicted => Verdict::False,
        _ => Verdict::True,
    }
}

/// A list in one line, as `kubectl get events` shows it.
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
