//! Reasons and messages of the four conditions. A message has the state, the field, the cause and the remedy.

use super::observed::{PolicySeen, TargetProblem, VaultSeen, of_policy};
use super::reason::{ConditionType, Reason};
use super::text;
use crate::api::{MESSAGE_LENGTH, VAULT_LABEL};
use crate::compile::kubernetes::protected_service::ProtectedServiceError;
use crate::compile::kubernetes::proxies::BOOTSTRAP_FOLDER;
use crate::policy::{Diagnostic, VaultId};
use crate::xds::{Rejection, State};

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
enum InForce {
    /// The stored generation.
    Current,
    /// The last accepted generation.
    Earlier,
    /// No generation.
    Nothing,
}

impl Evaluation<'_> {
    /// Returns the conditions in the order of the status.
    pub(crate) fn all(&self) -> [Entry; 4] {
        let entry = |kind, (reason, message): (Reason, String)| Entry {
            kind,
            reason,
            message: text::shortened(&message, MESSAGE_LENGTH),
        };
        [
            entry(ConditionType::Accepted, self.accepted()),
            entry(ConditionType::ResolvedRefs, self.resolved_refs()),
            entry(ConditionType::Programmed, self.programmed_condition()),
            entry(ConditionType::Conflicted, self.conflicted()),
        ]
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
                    "all references of the policy are resolved".to_owned(),
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

    fn programmed_condition(&self) -> (Reason, String) {
        let generation = self.policy.generation;
        if self.vault.terminating {
            return (
                Reason::NamespaceTerminating,
                "the policy's namespace is being deleted with all its objects; the operator creates no more objects \
                 for this vault"
                    .to_owned(),
            );
        }
        match self.acceptance() {
            Reason::Accepted => {}
            Reason::Pending => {
                let message = format!("the operator has not evaluated generation {generation} yet");
                return (Reason::Pending, message);
            }
            refused => return self.programmed_rejected(refused),
        }
        if let Some((reason, message)) = self.target_problem() {
            let effect = match self.vault.kept_port {
                Some(port) => format!(
                    "the firewall stays at port {port} until this is corrected; {} everything else of generation \
                     {generation}",
                    self.enforcing()
                ),
                None => format!(
                    "generation {generation} is not enforced: this policy protects no vault unless it did before, and \
                     objects that were generated earlier stay as they are until this is corrected"
                ),
            };
            return (reason, format!("{effect}:\n{message}"));
        }
        if let Some(error) = self.vault.apply_error {
            let heading = format!(
                "an object that belongs to generation {generation} could not be written; the operator retries. If the \
                 write is forbidden, grant the operator's service account the permission that is named; if the object \
                 is invalid, correct the setting that is named:"
            );
            let lines = std::iter::once(error.to_owned());
            let message = text::list(&heading, lines, MESSAGE_LENGTH);
            return (Reason::ApplyFailed, message);
        }
        self.programmed_accepted()
    }

    fn programmed_rejected(&self, refused: Reason) -> (Reason, String) {
        let generation = self.policy.generation;
        if self.in_force() == InForce::Earlier {
            let message = format!(
                "generation {generation} is not accepted (see Accepted); {} the last accepted generation of this \
                 policy",
                self.enforcing()
            );
            return (Reason::EarlierFormInForce, message);
        }
        let in_force = if self.vault.cold_start {
            "nothing of it is in force; proxies keep the rules from before the start of the operator"
        } else {
            "nothing of this policy is in force"
        };
        let message =
            format!("generation {generation} is not accepted (see Accepted), and {in_force}");
        (refused, message)
    }

    fn programmed_accepted(&self) -> (Reason, String) {
        let generation = self.policy.generation;
        let (proxies, is_newest) = (self.vault.proxies, self.is_newest());
        match proxies.state() {
            State::NoProxies | State::NoSnapshot if proxies.connected == 0 => {
                let described = self.vault_id().map_or_else(String::new, |vault| {
                    format!(
                        "; if none connects, check `kubectl -n {} describe pods -l {VAULT_LABEL}={}`",
                        vault.namespace, vault.service
                    )
                });
                let message = format!(
                    "no proxy is connected, so the operator cannot determine whether generation {generation} is \
                     enforced{described}"
                );
                (Reason::NoProxies, message)
            }
            State::Rejected if is_newest && proxies.rejections.iter().all(is_missing_file) => {
                let replaced = if self.vault.stalled.is_some() {
                    "and their replacements do not become ready: see the warning ProxiesNotReplaced"
                } else {
                    "and are being replaced"
                };
                let message = format!(
                    "{} generation {generation}; the others were started before TLS was enabled, keep their previous \
                     configuration, {replaced}",
                    self.enforcing()
                );
                (Reason::Pending, message)
            }
            State::Rejected if is_newest => {
                let heading = format!(
                    "a proxy rejected a resource of generation {generation} and keeps the previous version of it; {} \
                     generation {generation}. Undo the last change, and report this as a bug: the operator must not \
                     send such a resource:",
                    self.enforcing()
                );
                let lines = proxies.rejections.iter().map(|rejection| {
                    let removal = if rejection.version.is_none() {
                        " (its removal)"
                    } else {
                        ""
                    };
                    let (kind, name) = (rejection.kind, &rejection.name);
                    format!("{kind} {name}{removal}: {}", rejection.message)
                });
                (
                    Reason::Rejected,
                    text::list(&heading, lines, MESSAGE_LENGTH),
                )
            }
            State::Programmed if is_newest => (
                Reason::Programmed,
                format!("{} generation {generation}", self.enforcing()),
            ),
            _ => (
                Reason::Pending,
                format!(
                    "{} generation {generation}; if this lasts, check the logs of the others",
                    self.enforcing()
                ),
            ),
        }
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
    fn acceptance(&self) -> Reason {
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

    fn in_force(&self) -> InForce {
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

    fn vault_id(&self) -> Option<&VaultId> {
        Some(&self.vault.resolution?.resolution.firewall.vault)
    }

    fn target_problem(&self) -> Option<(Reason, String)> {
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

    /// Whether the proxies' status is about the snapshot of this generation.
    fn is_newest(&self) -> bool {
        self.vault.version.is_some() && self.vault.proxies.version.as_deref() == self.vault.version
    }

    /// Number of proxies that enforce everything.
    pub(crate) fn programmed_count(&self) -> usize {
        if self.is_newest() {
            self.vault.proxies.programmed
        } else {
            0
        }
    }

    fn enforcing(&self) -> String {
        match (self.programmed_count(), self.vault.proxies.connected) {
            (1, 1) => "the one connected proxy enforces".to_owned(),
            (all, connected) if all == connected && all > 0 => {
                format!("all {all} connected proxies enforce")
            }
            (some, connected) => format!("{some} of {connected} connected proxies enforce"),
        }
    }
}

/// Whether Envoy rejected the resource because its pod was started without a file that it names.
fn is_missing_file(rejection: &Rejection) -> bool {
    rejection.message.contains(BOOTSTRAP_FOLDER) && rejection.message.contains("does not exist")
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
