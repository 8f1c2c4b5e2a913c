//! Decides which firewall the local proxy enforces, passes it to the [`Publisher`] and logs the result. Fails closed:
//! while the content of a path is unknown, it is treated as the strictest possible.

use std::sync::Arc;
use std::time::Instant;

use super::error::StandaloneError;
use super::files::Files;
use crate::clock::Clock;
use crate::compile::envoy::Proxy;
use crate::index::VaultResolution;
use crate::policy::{DefaultAction, Denial, Mode, ProxySettings, Resolution, VaultId};
use crate::publish::{Confirmation, Desired, Outcome, Publisher};
use crate::xds::{Rejection, SnapshotStore};

/// Keeps the proxy of the one vault up to date with the files.
pub(super) struct Enforcer {
    /// The node that the proxy asks for.
    node: String,
    /// The vault; `None` until a policy names it.
    vault: Option<VaultId>,
    proxy: Proxy,
    publisher: Publisher,
    /// Whether an Envoy of an earlier run enforces rules that this run has not read completely: nothing is published
    /// until it has.
    holding: bool,
    /// The vaults of the last error about too many vaults.
    several: Vec<VaultId>,
    enforced: Option<Enforced>,
}

/// The last decision.
struct Enforced {
    vault: VaultId,
    /// Whether a path could not be used, so that its content was treated as the strictest possible.
    strict: bool,
}

impl Enforcer {
    pub(super) fn new(
        node: String,
        vault: Option<VaultId>,
        proxy: Proxy,
        store: Arc<SnapshotStore>,
    ) -> Self {
        Self {
            node,
            vault,
            proxy,
            publisher: Publisher::new(store, Clock::system(), log_confirmation),
            holding: false,
            several: Vec::new(),
            enforced: None,
        }
    }

    /// Handles an Envoy of an earlier run. Its rules stay in force until every path was read and there is a policy.
    pub(super) fn keep_running_envoy(&mut self, files: &Files) {
        if is_whole(files) {
            return;
        }
        self.holding = true;
        let unknown: Vec<_> = files.unknown().iter().map(|path| path.display()).collect();
        if unknown.is_empty() {
            tracing::error!(
                "there is no policy in the paths of -f; what the Envoy of an earlier run enforces stays in force until \
                 there is one"
            );
        } else {
            tracing::error!(
                "not all of the paths of -f can be used ({unknown:?}); what the Envoy of an earlier run enforces stays \
                 in force until they can"
            );
        }
    }

    /// Handles a restart of Envoy: it has no configuration, so there is nothing to keep in force.
    pub(super) fn restarted(&mut self) {
        self.holding = false;
    }

    /// Publishes the firewall if it changed. `seen` is the time when the change was seen.
    pub(super) fn enforce(&mut self, files: &mut Files, seen: Instant) {
        self.holding = self.holding && !is_whole(files);
        if self.holding {
            return;
        }
        let changed = files.index_mut().take_changed();
        self.choose_vault(files);
        let strict = !files.unknown().is_empty();
        if let Some(vault) = &self.vault {
            for other in changed.iter().filter(|changed| *changed != vault) {
                // The deletion of its last policy is a change, too.
                for (policy, file) in files.policies_of(other) {
                    tracing::warn!(
                        "policies of {other} are ignored: this Vaultwall protects {vault}; correct metadata.namespace \
                         or spec.targetRef.name of policy {policy} in {}, or protect {other} by a Vaultwall of its \
                         own, with --vault {other}",
                        file.display()
                    );
                }
            }
            let is_same =
                |enforced: &Enforced| enforced.strict == strict && enforced.vault == *vault;
            if self.enforced.as_ref().is_some_and(is_same) && !changed.contains(vault) {
                return;
            }
        }
        let deny_all = || deny_all(self.vault.clone().unwrap_or_else(unnamed_vault));
        let resolved = self
            .vault
            .as_ref()
            .and_then(|vault| files.index_mut().resolve(vault));
        let mut resolution = match resolved {
            Some(resolved) => {
                log_diagnostics(&resolved);
                match (check_plain_http(&resolved.resolution), &self.enforced) {
                    (Ok(()), _) => resolved,
                    (Err(problem), Some(_)) => {
                        tracing::error!("{problem}; what was in force stays in force");
                        return;
                    }
                    (Err(problem), None) => {
                        tracing::error!("{problem}; until then everything is denied");
                        deny_all()
                    }
                }
            }
            None if self.enforced.is_some() => {
                if let Some(vault) = &self.vault {
                    tracing::error!(
                        "no policy of {vault} is left; what was in force stays in force. Stop Vaultwall to remove \
                         the firewall"
                    );
                }
                return;
            }
            None => deny_all(),
        };
        let firewall = &mut resolution.resolution.firewall;
        if strict && firewall.is_open() {
            tracing::warn!(
                "the default action is Deny and the mode is Enforced until every path of -f can be used: {:?}",
                files.unknown()
            );
            firewall.default_action = DefaultAction::Deny;
            firewall.mode = Mode::Enforced;
        }
        let is_drop = firewall.denial == Denial::Drop;
        self.enforced = Some(Enforced {
            vault: firewall.vault.clone(),
            strict,
        });
        let desired = Desired {
            proxy: Proxy {
                http2: resolution.resolution.proxy.http2,
                ..self.proxy.clone()
            },
            resolution: Arc::new(resolution),
            endpoints: None,
            cold_start: false,
        };
        let published = self.publisher.publish(&self.node, desired, seen);
        if is_drop && published.compiled_in.is_some() {
            tracing::warn!(
                "spec.denial: Drop needs a NetworkPolicy; here, without a cluster, denied callers receive 403"
            );
        }
    }

    /// Waits until [`Self::publish_due`] has something to do.
    pub(super) async fn wait_due(&self) {
        self.publisher.wait_due().await;
    }

    /// Publishes what had to wait, whatever the files contain by now.
    pub(super) fn publish_due(&mut self) {
        self.publisher.publish_due();
    }

    /// Uses the vault that the policies name, unless `--vault` names the one behind `--upstream`.
    fn choose_vault(&mut self, files: &Files) {
        if self.vault.is_some() {
            return;
        }
        let vaults: Vec<VaultId> = files.index().vaults().cloned().collect();
        match vaults.as_slice() {
            [] => {}
            [vault] => self.vault = Some(vault.clone()),
            several if self.several != several => {
                tracing::error!(
                    "{}; what was in force stays in force",
                    StandaloneError::several_vaults(several)
                );
                self.several = vaults;
            }
            _ => {}
        }
    }
}

/// Whether every path could be used and there is a policy.
fn is_whole(files: &Files) -> bool {
    files.unknown().is_empty() && files.has_policy()
}

/// Refuses a firewall whose policies require TLS: serving plain HTTP instead would remain unnoticed.
fn check_plain_http(resolution: &Resolution) -> Result<(), String> {
    let Resolution {
        firewall, proxy, ..
    } = resolution;
    let field = match (&proxy.tls, &proxy.upstream_tls) {
        (Some(_), _) => "spec.proxy.tls",
        (None, Some(_)) => "spec.proxy.upstreamTls",
        (None, None) => return Ok(()),
    };
    Err(format!(
        "{field} of the policies of {} names a Secret, which standalone mode cannot read: remove it, and keep the \
         endpoints on loopback or behind a proxy that terminates TLS",
        firewall.vault
    ))
}

/// A firewall that denies everything, for which no policy exists.
fn deny_all(vault: VaultId) -> VaultResolution {
    VaultResolution {
        resolution: Resolution::deny_all(vault, 0),
        kept: false,
    }
}

/// Name of the vault in error responses as long as no policy names it.
fn unnamed_vault() -> VaultId {
    VaultId {
        namespace: "default".into(),
        service: "vault".into(),
    }
}

/// Logs what the owner of the policies should know.
fn log_diagnostics(resolved: &VaultResolution) {
    let resolution = &resolved.resolution;
    for refused in &resolution.refused {
        let violation = &refused.violation;
        tracing::error!(
            "policy {} is not accepted: {}: {}",
            refused.policy,
            violation.field,
            violation.message
        );
    }
    if resolved.kept {
        tracing::error!(
            "no policy of {} is accepted: what was in force stays in force",
            resolution.firewall.vault
        );
    }
    let of_pods = ProxySettings {
        http2: None,
        ..resolution.proxy.clone()
    };
    if !of_pods.is_empty() {
        tracing::warn!(
            "spec.proxy of the policies of {} is ignored except for `http2`: it applies to proxies in a cluster, not \
             to the local one of standalone mode",
            resolution.firewall.vault
        );
    }
    for diagnostic in resolution.diagnostics() {
        tracing::warn!("policy {diagnostic}");
    }
}

/// Logs when a version is in force, or that no confirmation arrived.
fn log_confirmation(confirmation: &Confirmation) {
    let Confirmation {
        vault,
        seen,
        outcome,
    } = confirmation;
    match outcome {
        Outcome::InForce => tracing::info!(after = ?seen.elapsed(), "in force at {vault}"),
        // A newer version has a confirmation of its own, and rejections are logged with Envoy's reason.
        Outcome::NotInForce(_) => {}
        Outcome::TimedOut => tracing::warn!(
            "Envoy has not confirmed the newest rules of {vault} in time; what was in force stays in force"
        ),
    }
}

/// Logs what Envoy refuses, with Envoy's reason.
pub(super) fn log_rejection(rejection: &Rejection) {
    let Rejection {
        kind,
        name,
        message,
        ..
    } = rejection;
    tracing::error!("Envoy refuses {kind} {name}: {message}; what was in force stays in force");
}
