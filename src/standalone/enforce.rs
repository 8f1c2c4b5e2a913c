//! From the index to the proxy: resolves, compiles and publishes the one firewall, and says what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use super::StandaloneError;
use super::files::Files;
use crate::compile::envoy::Proxy;
use crate::index::VaultResolution;
use crate::policy::{DefaultAction, Denial, Firewall, Resolution, VaultId};
use crate::publish::Compiler;
use crate::xds::{Event, NotProgrammed, Outcome, SnapshotStore};

/// How long a proxy may take before its silence is worth a word.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the proxies of the one vault at the firewall of now.
pub(super) struct Enforcer {
    /// Name under which the proxies ask.
    node: String,
    /// The vault; none until a policy says which.
    vault: Option<VaultId>,
    proxy: Proxy,
    store: Arc<SnapshotStore>,
    /// An Envoy of an earlier run enforces what this run does not know whole: nothing is published until it does.
    holding: bool,
    /// The vaults of which it was said that they are too many.
    several: Vec<VaultId>,
    compiler: Compiler,
    published: Option<Published>,
}

struct Published {
    firewall: Firewall,
    /// Whether something that is not known counted as the strictest that it could be.
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
            store,
            holding: false,
            several: Vec::new(),
            compiler: Compiler::default(),
            published: None,
        }
    }

    /// An Envoy of an earlier run is enforcing. What is not known whole must not take its place: what was in force stays
    /// in force.
    pub(super) fn found_running(&mut self, files: &Files) {
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

    /// Envoy was started anew and has nothing, so there is nothing to keep.
    pub(super) fn restarted(&mut self) {
        self.holding = false;
    }

    /// Publishes the firewall if it changed. `seen` is when the change was seen.
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
                tracing::warn!(
                    "policies of {other} are passed over: this Vaultwall protects {vault}"
                );
            }
            let same = |published: &Published| {
                published.strict == strict && published.firewall.vault == *vault
            };
            if self.published.as_ref().is_some_and(same) && !changed.contains(vault) {
                return;
            }
        }
        let resolved = self
            .vault
            .as_ref()
            .and_then(|vault| files.index_mut().resolve(vault));
        let mut firewall = match resolved {
            Some(resolved) => {
                say(&resolved);
                match (without_tls(resolved.resolution), &self.published) {
                    (Ok(firewall), _) => firewall,
                    (Err(why), Some(_)) => {
                        tracing::error!("{why}; what was in force stays in force");
                        return;
                    }
                    (Err(why), None) => {
                        tracing::error!("{why}; until then everything is denied");
                        Firewall::deny_all(self.vault.clone().unwrap_or_else(nameless), 0)
                    }
                }
            }
            None if self.published.is_some() => {
                if let Some(vault) = &self.vault {
                    tracing::error!(
                        "no policy of {vault} is left; what was in force stays in force. Stop Vaultwall to take the \
                         firewall away"
                    );
                }
                return;
            }
            None => Firewall::deny_all(self.vault.clone().unwrap_or_else(nameless), 0),
        };
        if strict && firewall.default_action == DefaultAction::Allow {
            tracing::warn!(
                "the default action is Deny until every path of -f can be used: {:?}",
                files.unknown()
            );
            firewall.default_action = DefaultAction::Deny;
        }
        let is_new = self
            .published
            .as_ref()
            .is_none_or(|published| published.firewall != firewall);
        if is_new {
            self.publish(&firewall, seen);
        }
        self.published = Some(Published { firewall, strict });
    }

    fn publish(&mut self, firewall: &Firewall, seen: Instant) {
        let started = Instant::now();
        let snapshot = self.compiler.snapshot(firewall, &self.proxy, Vec::new());
        let version = self.store.publish(&self.node, snapshot);
        tracing::info!(
            policies = ?firewall.policies,
            virtual_network_prefixes = firewall.virtual_networks.len(),
            ip_prefixes = firewall.ip_rules.len(),
            default_action = ?firewall.default_action,
            compiled_in = ?started.elapsed(),
            "firewall of {} changed",
            firewall.vault
        );
        if firewall.denial == Denial::Drop {
            tracing::warn!(
                "spec.denial: Drop is the work of a NetworkPolicy; here, without a cluster, denied callers get 403"
            );
        }
        tokio::spawn(confirm(
            self.store.clone(),
            self.node.clone(),
            firewall.vault.clone(),
            version,
            seen,
        ));
    }

    /// The vault that the policies name, where nobody has said which is behind `--upstream`.
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

/// Whether everything that counts is known.
fn is_whole(files: &Files) -> bool {
    files.unknown().is_empty() && files.has_policy()
}

/// The firewall, unless it is to speak TLS: plain HTTP in its place would be silent.
fn without_tls(resolution: Resolution) -> Result<Firewall, String> {
    let Resolution {
        firewall, proxy, ..
    } = resolution;
    let field = match (&proxy.tls, &proxy.upstream_tls) {
        (Some(_), _) => "spec.proxy.tls",
        (None, Some(_)) => "spec.proxy.upstreamTls",
        (None, None) => return Ok(firewall),
    };
    Err(format!(
        "{field} of the policies of {} names a Secret, and standalone mode has none: remove it, and keep the endpoints on \
         loopback or behind a proxy that speaks TLS",
        firewall.vault
    ))
}

/// Stands for the vault in answers as long as no policy names it.
fn nameless() -> VaultId {
    VaultId {
        namespace: "default".into(),
        service: "vault".into(),
    }
}

/// Says what the resolution found, for the owner of the policies.
fn say(resolved: &VaultResolution) {
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
    if !resolution.proxy.is_empty() {
        tracing::warn!(
            "spec.proxy of the policies of {} says nothing here: it is about proxies in a cluster, and this is the one \
             proxy of standalone mode",
            resolution.firewall.vault
        );
    }
    let diagnostics = resolution
        .unresolved
        .iter()
        .chain(&resolution.conflicts)
        .chain(&resolution.warnings);
    for diagnostic in diagnostics {
        tracing::warn!(
            "policy {}: {}: {}",
            diagnostic.policy,
            diagnostic.field,
            diagnostic.message
        );
    }
}

/// Says when a version is in force, or why it is not.
async fn confirm(
    store: Arc<SnapshotStore>,
    node: String,
    vault: VaultId,
    version: String,
    seen: Instant,
) {
    let waiting = store.wait_programmed(&node, &version);
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(Ok(())) => tracing::info!(after = ?seen.elapsed(), "in force at {vault}"),
        // A newer version took its place, and speaks for itself; a rejection is reported in Envoy's words.
        Ok(Err(NotProgrammed::NotNewest { .. } | NotProgrammed::Rejected { .. })) => {}
        Err(_) => tracing::warn!(
            "Envoy has not confirmed the newest rules of {vault} in {PATIENCE:?}; what was in force stays in force"
        ),
    }
}

/// Says what Envoy refuses, in Envoy's words.
pub(super) async fn report_rejections(store: Arc<SnapshotStore>) {
    let mut reports = store.reports();
    loop {
        match reports.recv().await {
            Ok(report) => {
                if let Event::Answered {
                    kind,
                    name,
                    outcome: Outcome::Rejected { message },
                    ..
                } = report.event
                {
                    tracing::error!(
                        "Envoy refuses {kind} {name}: {message}; what was in force stays in force"
                    );
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
