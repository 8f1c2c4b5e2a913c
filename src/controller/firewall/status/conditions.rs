//! What each of the four conditions says: what is so, where, why and what to do.

use super::reason::{ConditionType, Reason};
use super::{PolicySeen, TargetProblem, VaultSeen, of_policy, text};
use crate::api::MESSAGE_LENGTH;
use crate::compile::ProtectedServiceError;
use crate::compile::kubernetes::fleet::BOOTSTRAP_FOLDER;
use crate::policy::{Diagnostic, VaultId};
use crate::xds::{Rejection, State};

/// One condition's reason and message.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) kind: ConditionType,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// What is found of one policy in its vault.
pub(crate) struct Finding<'a> {
    pub(crate) policy: &'a PolicySeen<'a>,
    pub(crate) vault: &'a VaultSeen<'a>,
}

/// Which form of a policy its vault's firewall is made from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InForce {
    /// The one that is stored.
    Current,
    /// The one that was accepted last.
    Earlier,
    Nothing,
}

impl Finding<'_> {
    /// The conditions, in the order in which they are written.
    pub(crate) fn all(&self) -> [Said; 4] {
        let said = |kind, (reason, message): (Reason, String)| Said {
            kind,
            reason,
            message: text::shortened(&message, MESSAGE_LENGTH),
        };
        [
            said(ConditionType::Accepted, self.accepted()),
            said(ConditionType::ResolvedRefs, self.resolved_refs()),
            said(ConditionType::Programmed, self.program()),
            said(ConditionType::Conflicted, self.conflicted()),
        ]
    }

    fn accepted(&self) -> (Reason, String) {
        let generation = self.policy.generation;
        let reason = self.acceptance();
        let message = match reason {
            Reason::Invalid => {
                let violations = self.policy.violations;
                let heading = format!(
                    "generation {generation} breaks {}, and is refused as a whole; {}:",
                    counted(violations.len(), "rule"),
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
                    "generation {generation} takes the vault beyond a limit; {}:",
                    self.instead()
                );
                text::list(&heading, lines.into_iter(), MESSAGE_LENGTH)
            }
            Reason::Accepted => format!("generation {generation} is valid and within the limits"),
            _ => format!("generation {generation} was not looked at yet"),
        };
        (reason, message)
    }

    /// What is in force in place of a form that is refused.
    fn instead(&self) -> String {
        let Some(seen) = self.vault.resolution else {
            return "it opens nothing".to_owned();
        };
        let vault = &seen.resolution.firewall.vault;
        match self.in_force() {
            InForce::Current | InForce::Earlier => {
                "the last accepted form of this policy stays in force".to_owned()
            }
            InForce::Nothing if self.vault.cold_start => format!(
                "no policy of the vault {vault} was accepted since the operator was started, so proxies keep the rules \
                 that they had before, and one that has none denies everything"
            ),
            InForce::Nothing if seen.resolution.firewall.policies.is_empty() => {
                format!(
                    "no policy of the vault {vault} is accepted, so the vault denies everything"
                )
            }
            InForce::Nothing if seen.kept => format!(
                "this policy opens nothing; no policy of the vault {vault} is accepted, and the last accepted form of \
                 its others stays in force"
            ),
            InForce::Nothing => format!(
                "this policy opens nothing, the other policies of the vault {vault} stay in force"
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
                Reason::Invalid if !self.has_valid_form() => (
                    Reason::Invalid,
                    "what an invalid policy refers to is not looked up; see Accepted".to_owned(),
                ),
                Reason::Pending => (Reason::Pending, self.accepted().1),
                _ => (
                    Reason::ResolvedRefs,
                    "everything that the policy refers to is there".to_owned(),
                ),
            };
        };
        let mut lines: Vec<String> = target.into_iter().map(|(_, message)| message).collect();
        lines.extend(unresolved.into_iter().map(line));
        let of_earlier = if self.policy.violations.is_empty() {
            ""
        } else {
            " of the last accepted form"
        };
        let heading = format!(
            "{}{of_earlier} cannot be resolved; the others stay in force:",
            counted(lines.len(), "reference")
        );
        (
            reason,
            text::list(&heading, lines.into_iter(), MESSAGE_LENGTH),
        )
    }

    fn program(&self) -> (Reason, String) {
        let generation = self.policy.generation;
        if self.vault.terminating {
            return (
                Reason::NamespaceTerminating,
                "the policy's namespace is being deleted, and everything in it with it; nothing more is made for this \
                 vault"
                    .to_owned(),
            );
        }
        match self.acceptance() {
            Reason::Accepted => {}
            Reason::Pending => {
                let message = format!("generation {generation} was not looked at yet");
                return (Reason::Pending, message);
            }
            refused => return self.program_refused(refused),
        }
        if let Some((reason, message)) = self.target_problem() {
            let message = format!(
                "generation {generation} cannot be enforced around this Service, and what was made for it is not \
                 brought up to date until this is corrected:\n{message}"
            );
            return (reason, message);
        }
        if let Some(error) = self.vault.apply_error {
            let heading = format!(
                "an object that belongs to generation {generation} could not be written, and is tried again. If it is \
                 forbidden, give the operator's service account the right that is named; if it is invalid, correct \
                 the setting that is named:"
            );
            let words = std::iter::once(error.to_owned());
            let message = text::list(&heading, words, MESSAGE_LENGTH);
            return (Reason::ApplyFailed, message);
        }
        self.program_accepted()
    }

    fn program_refused(&self, refused: Reason) -> (Reason, String) {
        let generation = self.policy.generation;
        if self.in_force() == InForce::Earlier {
            let message = format!(
                "generation {generation} is not accepted (see Accepted); {} the last accepted form of this policy",
                self.enforcing()
            );
            return (Reason::EarlierFormInForce, message);
        }
        let in_force = if self.vault.cold_start {
            "nothing of it is in force; proxies keep the rules that they had before the operator was started"
        } else {
            "nothing of this policy is in force"
        };
        let message =
            format!("generation {generation} is not accepted (see Accepted), and {in_force}");
        (refused, message)
    }

    fn program_accepted(&self) -> (Reason, String) {
        let generation = self.policy.generation;
        let (proxies, is_newest) = (self.vault.proxies, self.is_newest());
        match proxies.state() {
            State::NoProxies | State::NoSnapshot if proxies.connected == 0 => {
                let described = self.vault_id().map_or_else(String::new, |vault| {
                    format!(
                        "; if none comes, look at `kubectl -n {} describe deployment {}-firewall`",
                        vault.namespace, vault.service
                    )
                });
                let message = format!(
                    "no proxy is connected, so it is not known whether generation {generation} is enforced{described}"
                );
                (Reason::NoProxies, message)
            }
            State::Rejected if is_newest && proxies.rejections.iter().all(lacks_files) => {
                let replaced = if self.vault.stalled.is_some() {
                    "and those that should replace them do not become ready: see the warning ProxiesNotReplaced"
                } else {
                    "and are being replaced"
                };
                let message = format!(
                    "{} generation {generation}; the others were started before TLS was switched on, keep what they \
                     had, {replaced}",
                    self.enforcing()
                );
                (Reason::Pending, message)
            }
            State::Rejected if is_newest => {
                let heading = format!(
                    "a proxy refuses a part of generation {generation} and keeps what it had in its place; {} \
                     generation {generation}. Undo the last change, and report this: the operator should have seen it \
                     first:",
                    self.enforcing()
                );
                let lines = proxies.rejections.iter().map(|rejection| {
                    let removal = if rejection.version.is_none() {
                        " (its removal)"
                    } else {
                        ""
                    };
                    let (kind, name) = (rejection.kind, &rejection.name);
                    format!("{kind:?} {name}{removal}: {}", rejection.message)
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
                    "{} generation {generation}; if this lasts, look at the logs of the others",
                    self.enforcing()
                ),
            ),
        }
    }

    fn conflicted(&self) -> (Reason, String) {
        if !self.is_accepted_in_some_form() {
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
            let message = "no other policy of this vault decides a setting of this one";
            return (Reason::NoConflicts, message.to_owned());
        }
        let heading = format!(
            "another policy of this vault decides {} of this one; its rules count all the same:",
            counted(conflicts.len(), "setting")
        );
        let message = text::list(&heading, conflicts.into_iter(), MESSAGE_LENGTH);
        (Reason::SettingsDiffer, message)
    }

    /// `Accepted`, `Invalid`, `LimitExceeded` or `Pending`.
    fn acceptance(&self) -> Reason {
        if !self.policy.violations.is_empty() {
            Reason::Invalid
        } else if self.refused().next().is_some() {
            Reason::LimitExceeded
        } else if self.is_accepted_in_some_form() {
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

    /// Whether the resolution counts it, which for an invalid policy is its last valid form.
    fn is_accepted_in_some_form(&self) -> bool {
        self.vault
            .resolution
            .is_some_and(|seen| names(&seen.resolution.accepted, self.policy.name))
    }

    /// Whether it was resolved at all.
    fn has_valid_form(&self) -> bool {
        self.is_accepted_in_some_form() || self.refused().next().is_some()
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
                let which = self.vault_id().map_or_else(
                    || "the Service does not exist in the policy's namespace".to_owned(),
                    |vault| {
                        format!(
                            "there is no Service `{}` in the namespace `{}`",
                            vault.service, vault.namespace
                        )
                    },
                );
                (
                    Reason::TargetNotFound,
                    format!("spec.targetRef.name: {which}; create it or correct the name"),
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

    /// Whether the proxies speak of the snapshot that holds this generation.
    fn is_newest(&self) -> bool {
        self.vault.version.is_some() && self.vault.proxies.version.as_deref() == self.vault.version
    }

    /// How many proxies have everything in force.
    pub(crate) fn programmed(&self) -> usize {
        if self.is_newest() {
            self.vault.proxies.programmed
        } else {
            0
        }
    }

    fn enforcing(&self) -> String {
        match (self.programmed(), self.vault.proxies.connected) {
            (1, 1) => "the one connected proxy enforces".to_owned(),
            (all, connected) if all == connected && all > 0 => {
                format!("all {all} connected proxies enforce")
            }
            (some, connected) => format!("{some} of {connected} connected proxies enforce"),
        }
    }
}

/// Whether Envoy refuses it for files that its pod was not started with.
fn lacks_files(rejection: &Rejection) -> bool {
    rejection.message.contains(BOOTSTRAP_FOLDER) && rejection.message.contains("does not exist")
}

fn names(policies: &[String], policy: &str) -> bool {
    policies.iter().any(|name| name == policy)
}

fn line(diagnostic: &Diagnostic) -> String {
    format!("{}: {}", diagnostic.field, diagnostic.message)
}

/// `1 rule`, `2 rules`.
fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}
