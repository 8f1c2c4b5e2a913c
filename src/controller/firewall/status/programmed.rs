//! The condition `Programmed`, and the number of proxies.

use super::conditions::{Evaluation, InForce};
use super::reason::Reason;
use crate::api::{MESSAGE_LENGTH, VAULT_LABEL};
use crate::compile::firewall_name;
use crate::compile::kubernetes::proxies::BOOTSTRAP_FOLDER;
use crate::runtime::status::text;
use crate::xds::{Rejection, State};

impl Evaluation<'_> {
    pub(super) fn programmed_condition(&self) -> (Reason, String) {
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
            State::Programmed if is_newest && self.vault.ready == Some(0) => {
                let name = self.vault_id().map_or_else(String::new, |vault| {
                    format!(
                        " `{}`; if this lasts, check `kubectl -n {} describe pods -l {VAULT_LABEL}={}`",
                        firewall_name(&vault.service),
                        vault.namespace,
                        vault.service
                    )
                });
                let message = format!(
                    "{} generation {generation}, but clients cannot connect yet: no proxy is ready behind the \
                     Service{name}",
                    self.enforcing()
                );
                (Reason::NoEndpoints, message)
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

    /// Whether the proxies' status is about the snapshot of this generation.
    fn is_newest(&self) -> bool {
        self.vault.version.is_some() && self.vault.proxies.version.as_deref() == self.vault.version
    }

    /// Text of `status.proxies`: proxies that are ready and enforce everything, of those that the Deployment wants.
    pub(crate) fn proxies(&self) -> String {
        let (enforcing, wanted) = (self.programmed_count(), self.vault.wanted);
        match self.vault.ready {
            Some(ready) => format!("{}/{wanted}", enforcing.min(ready).min(wanted)),
            None => format!("{enforcing}/{}", self.vault.proxies.connected),
        }
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
