//! Reasons and messages of the five conditions. A message has the state, the field, the cause and the remedy.

use super::observed::{PolicySeen, TargetProblem, VaultSeen, of_policy};
use super::reason::{ConditionType, Reason, Verdict};
use crate::api::MESSAGE_LENGTH;
use crate::compile::kubernetes::protected_service::ProtectedServiceError;
use crate::policy::{Diagnostic, VaultId};
use crate::runtime::status::text;

/// Type, reason and message of one condition.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: ConditionType,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// Evaluation of one policy in its vault.
pub(crate) struct Evaluation<'a> {
    pub(crate) policy: &'a PolicySeen<'a>,
    pub(crate) vault: &'a VaultSeen<'a>,
}

/// Generation of a policy that its vault's firewall was resolved from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InForce {
    /// The stored generation.
    Current,
    /// The last accepted generation.
    Earlier,
    /// No generation.
    Nothing,
}

impl Evaluation<'_> {
    /// Returns the conditions in the order of the status.
    pub(crate) fn all(&self) -> [Entry; 5] {
        let entry = |kind, (reason, message): (Reason, String)| Entry {
            kind,
            reason,
            message: text::shortened(&message, MESSAGE_LENGTH),
        };
        let accepted = entry(ConditionType::Accepted, self.accepted());
        let resolved = entry(ConditionType::ResolvedRefs, self.resolved_refs());
        let programmed = entry(ConditionType::Programmed, self.programmed_condition());
        let ready = self.ready(&[&accepted, &resolved, &programmed]);
        [
            accepted,
            resolved,
            programmed,
            entry(ConditionType::Conflicted, self.conflicted()),
            entry(ConditionType::Ready, ready),
        ]
    }

    /// Returns the reason of the first condition that is not true, with the first line of its message.
    fn ready(&self, conditions: &[&Entry]) -> (Reason, String) {
        let mut conditions = conditions.iter();
        let missing = conditions.find(|entry| entry.kind.verdict(entry.reason) != Verdict::True);
        let Some(Entry {
            kind,
            reason,
            message,
        }) = missing
        else {
            let generation = self.policy.generation;
            return (
                Reason::Ready,
                format!("all of generation {generation} is in force"),
            );
        };
        let heading = message.lines().next().unwrap_or_default();
        let heading = heading.trim_end_matches(':');
        (*reason, format!("see {}: {heading}", kind.name()))
    }

    fn accepted(&self) -> (Reason, String) {
        let generation = self.policy.generation;
        let reason = self.acceptance();
        let message = match reason {
            Reason::Invalid => {
                let violations = self.policy.violations;
                let heading = format!(
                    "generation {generation} has {}, and is rejected as a whole; {}:",
                    counted(violations.len(), "error"),
                    self.instead()
                );
                let lines = violations.iter().map(|violation| {
                    if violation.field.is_empty() {
                        violation.message.clone()
                    } else {
                        format!("{}: {}", violation.field, violation.message)
                    }
                });
                text::list(&heading, lines, MESSAGE_LENGTH)
            }
            Reason::LimitExceeded => {
                let refused = self.refused();
                let lines: Vec<String> = refused
                    .map(|violation| format!("{}: {}", violation.field, violation.message))
                    .collect();
                let heading = format!(
                    "with generation {generation} the vault exceeds a limit; {}:",
                    self.instead()
                );
                text::list(&heading, lines.into_iter(), MESSAGE_LENGTH)
            }
            Reason::Accepted => format!("generation {generation} is valid and within the limits"),
            _ => format!("the operator has not evaluated generation {generation} yet"),
        };
        (reason, message)
    }

    /// Configuration in force in place of a rejected generation.
    fn instead(&self) -> String {
        let Some(seen) = self.vault.resolution else {
            return "it allows nothing".to_owned();
        };
        let vault = &seen.resolution.firewall.vault;
        match self.in_force() {
            InForce::Current | InForce::Earlier => {
                "the last accepted generation of this policy stays in force".to_owned()
            }
            InForce::Nothing if self.vault.cold_start => format!(
                "no policy of the vault {vault} was accepted since the start of the operator, so proxies keep their \
                 previous rules, and a proxy without rules denies every request"
            ),
            InForce::Nothing if seen.resolution.firewall.policies.is_empty() => {
                format!(
                    "no policy of the vault {vault} is accepted, so the vault denies every request"
                )
            }
            InForce::Nothing if seen.kept => format!(
                "this policy allows nothing; no policy of the vault {vault} is accepted, and the last accepted \
                 generations of its other policies stay in force"
            ),
            InForce::Nothing => format!(
                "this policy allows nothing; the other policies of the vault {vault} stay in force"
            ),
        }
    }

    fn resolved_refs(&self) -> (Reason, String) {
        let unresolved: Vec<&Diagnostic> = self.unresolved().collect();
        let target = self.target_problem();
        let gravest = unresolved.iter().map(|diagnostic| diagnostic.reason).min();
        let reason = target.as_ref().map(|(reason, _)| *reason);
        let reason = reason.or_else(|| gravest.and_then(Reason::of_unresolved));
        let Some(reason) = reason else {
            return match self.acceptance() {
                Reason::Invalid if !self.has_valid_generation() => (
                    Reason::Invalid,
                    "references of an invalid policy are not resolved; see Accepted".to_owned(),
                ),
                Reason::Pending => (Reason::Pending, self.accepted().1),
                _ => (
                    Reason::ResolvedRefs,
                    "the target and all virtual networks and namespaces of the rules are resolved. Secrets are not \
                     included: the operator may not read them"
                        .to_owned(),
                ),
            };
        };
        let effect = match target {
            Some(_) => "Programmed has what is in force",
            None => "the other rules stay in force",
        };
        let mut lines: Vec<String> = target.into_iter().map(|(_, message)| message).collect();
        lines.extend(unresolved.into_iter().map(line));
        let of_earlier = if self.policy.violations.is_empty() {
            ""
        } else {
            " of the last accepted generation"
        };
        let heading = format!(
            "{}{of_earlier} cannot be resolved; {effect}:",
            counted(lines.len(), "reference")
        );
        (
            reason,
            text::list(&heading, lines.into_iter(), MESSAGE_LENGTH),
        )
    }

    fn conflicted(&self) -> (Reason, String) {
        if !self.has_accepted_generation() {
            let message = "settings are compared between accepted policies; see Accepted";
            return (self.acceptance(), message.to_owned());
        }
        let conflicts: Vec<String> = self
            .vault
            .resolution
            .into_iter()
            .flat_map(|seen| of_policy(&seen.resolution.conflicts, self.policy.name))
            .map(line)
            .collect();
        if conflicts.is_empty() {
            let message = "no other policy of this vault overrides a setting of this one";
            return (Reason::NoConflicts, message.to_owned());
        }
        let heading = format!(
            "another policy of this vault overrides {} of this one; the rules of this policy stay in force:",
            counted(conflicts.len(), "setting")
        );
        let message = text::list(&heading, conflicts.into_iter(), MESSAGE_LENGTH);
        (Reason::SettingsDiffer, message)
    }

    /// Returns `Accepted`, `Invalid`, `LimitExceeded` or `Pending`.
    pub(super) fn acceptance(&self) -> Reason {
        if !self.policy.violations.is_empty() {
            Reason::Invalid
        } else if self.refused().next().is_some() {
            Reason::LimitExceeded
        } else if self.has_accepted_generation() {
            Reason::Accepted
        } else {
            Reason::Pending
        }
    }

    fn refused(&self) -> impl Iterator<Item = &crate::policy::Violation> {
        let refused = self
            .vault
            .resolution
            .map_or(&[][..], |seen| &seen.resolution.refused);
        refused
            .iter()
            .filter(|refused| refused.policy == self.policy.name)
            .map(|refused| &refused.violation)
    }

    /// Whether the resolution has a generation of the policy; for an invalid policy that is its last valid generation.
    fn has_accepted_generation(&self) -> bool {
        self.vault
            .resolution
            .is_some_and(|seen| names(&seen.resolution.accepted, self.policy.name))
    }

    /// Whether a valid generation of the policy was resolved.
    fn has_valid_generation(&self) -> bool {
        self.has_accepted_generation() || self.refused().next().is_some()
    }

    pub(super) fn in_force(&self) -> InForce {
        let Some(seen) = self.vault.resolution else {
            return InForce::Nothing;
        };
        if !names(&seen.resolution.firewall.policies, self.policy.name) {
            InForce::Nothing
        } else if self.acceptance() == Reason::Accepted {
            InForce::Current
        } else {
            InForce::Earlier
        }
    }

    fn unresolved(&self) -> impl Iterator<Item = &Diagnostic> {
        let unresolved = self
            .vault
            .resolution
            .map_or(&[][..], |seen| &seen.resolution.unresolved);
        of_policy(unresolved, self.policy.name)
    }

    pub(super) fn vault_id(&self) -> Option<&VaultId> {
        Some(&self.vault.resolution?.resolution.firewall.vault)
    }

    pub(super) fn target_problem(&self) -> Option<(Reason, String)> {
        Some(match self.vault.target.as_ref().err()? {
            TargetProblem::NotFound => {
                let (which, list) = self.vault_id().map_or_else(
                    || {
                        let which = "the Service does not exist in the policy's namespace";
                        (which.to_owned(), String::new())
                    },
                    |VaultId { namespace, service }| {
                        (
                            format!(
                                "there is no Service `{service}` in the namespace `{namespace}`"
                            ),
                            format!(
                                " (`kubectl -n {namespace} get services` lists those that exist)"
                            ),
                        )
                    },
                );
                (
                    Reason::TargetNotFound,
                    format!(
                        "spec.targetRef.name: {which}; create it, or if the name is wrong{list}, delete this policy \
                         and create one with the right name"
                    ),
                )
            }
            TargetProblem::Unusable(error @ ProtectedServiceError::NoSelector) => {
                (Reason::NoSelector, format!("spec.targetRef.name: {error}"))
            }
            TargetProblem::Unusable(error @ ProtectedServiceError::NoPort { .. }) => (
                Reason::PortNotFound,
                format!("spec.targetRef.port: {error}"),
            ),
        })
    }
}

fn names(policies: &[String], policy: &str) -> bool {
    policies.iter().any(|name| name == policy)
}

fn line(diagnostic: &Diagnostic) -> String {
    format!("{}: {}", diagnostic.field, diagnostic.message)
}

/// Returns a count with its noun, for example `1 rule` or `2 rules`.
fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}
