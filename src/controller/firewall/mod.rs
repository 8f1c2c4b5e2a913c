//! Reconcile of a vault's firewall, by the leader: validated state → desired objects → apply → status.
//!
//! Policies are validated and resolved on every replica; [`state`] has the result. [`Reconciler::reconcile`] does the
//! rest for one vault. It never decides who may reach the vault.
//!
//! | module | content |
//! |---|---|
//! | [`engine`] | events → index → published firewalls and state, on every replica |
//! | [`state`] | current state of every policy and vault |
//! | [`changes`] | changes that the engine does not see, which enqueue a vault |
//! | [`desired`] | desired objects of a vault |
//! | [`earlier`] | pods that the vault's Service selected earlier |
//! | [`status`] | desired status of a policy, and its events |
//! | [`leading`] | results of one term as leader that later stages need |

pub(crate) mod changes;
pub(crate) mod desired;
mod earlier;
pub(crate) mod engine;
mod leading;
pub(crate) mod state;
pub mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::Value;
use tokio::sync::watch;

use self::desired::{Desired, DesiredObjects};
use self::earlier::EarlierPods;
use self::leading::Leading;
use self::state::{FirewallState, Stage, StoredPolicy, VaultEntry};
use self::status::{Difference, PlainHttp, PolicySeen, RuleCounts, VaultSeen};
use crate::api::{GROUP, VERSION, VaultNetworkPolicy, VaultNetworkPolicyStatus};
use crate::clock::Clock;
use crate::compile::firewall_name;
use crate::controller::debounce::Debounce;
use crate::index::ObjectName;
use crate::policy::VaultId;
use crate::runtime::apply::{ApplyError, GeneratedKind, GeneratedObjects, Owner, name_of};
use crate::runtime::events::EventWriter;
use crate::runtime::leader::{Lost, Term};
use crate::runtime::operations::Metrics;
use crate::runtime::queue::{self, Outcome, Queue, Rules};
use crate::runtime::replicas::Replicas;
use crate::runtime::status::pruned::pruned_fields;
use crate::runtime::status::{Read, StatusWriter};
use crate::runtime::write::WriteError;
use crate::transport::certificates::Authority;

/// Kind of the objects that this reconciler is for.
const KIND: &str = "VaultNetworkPolicy";
/// Owner of the generated objects, and their field manager.
pub(crate) const OWNER: Owner = Owner {
    kind: KIND,
    field_manager: "vaultwall-firewall",
};
/// Field manager of a policy's status.
pub(crate) const STATUS_MANAGER: &str = "vaultwall-status";
/// Kind in the metric of status writes.
pub(crate) const STATUS_METRIC: &str = "VaultNetworkPolicy/status";
/// Vaults that are reconciled in one stage at a time; at most one of them of the same namespace. The number is small,
/// because more writes at a time slow down the API server for users.
const SLOTS: usize = 2;
/// Interval at which every vault is reconciled without a change.
const RESYNC: Duration = Duration::from_mins(10);

/// Reconciler of firewalls.
pub(crate) struct Reconciler {
    pub(crate) state: Arc<FirewallState>,
    pub(crate) desired: DesiredObjects,
    pub(crate) objects: Arc<GeneratedObjects>,
    pub(crate) statuses: StatusWriter,
    pub(crate) events: EventWriter,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) authority: watch::Receiver<Arc<Authority>>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

impl Reconciler {
    /// Reconciles every vault that changes, until the term is over.
    pub(crate) async fn run(&self, term: &Term) -> Lost {
        self.objects.listed().await;
        self.state.enqueue_all();
        let leading = &Leading::new(term);
        let queue = Queue::new(Rules {
            stages: Stage::ALL,
            slots: SLOTS,
            flow: |vault: &VaultId| &vault.namespace,
        });
        let changes = || self.state.next_queued();
        let reconcile =
            |vault: VaultId, stage| async move { self.reconcile(&vault, stage, leading).await };
        tokio::select! {
            lost = queue::run(queue, changes, reconcile) => lost,
            never = self.resync() => match never {},
        }
    }

    /// Enqueues every vault regularly, and when the certificate authority changes.
    async fn resync(&self) -> Infallible {
        let mut authority = self.authority.clone();
        loop {
            let resync = self.clock.sleep(RESYNC);
            tokio::pin!(resync);
            tokio::select! {
                () = &mut resync => {}
                changed = authority.changed() => if changed.is_err() {
                    // There are no more changes of the authority.
                    resync.await;
                },
            }
            self.state.enqueue_all();
        }
    }

    /// Runs one stage of the reconcile of a vault.
    async fn reconcile(
        &self,
        vault: &VaultId,
        stage: Stage,
        leading: &Leading<'_>,
    ) -> Result<Outcome, Lost> {
        let Some(entry) = self.state.vault(vault) else {
            return match stage {
                Stage::Objects => self.forget(vault, leading).await,
                Stage::Isolation | Stage::Status => Ok(Outcome::Done),
            };
        };
        let terminating = self.state.is_terminating(&vault.namespace);
        if stage == Stage::Status {
            return self
                .write_statuses(vault, &entry, terminating, leading)
                .await;
        }
        let mut problem = None;
        if !terminating && entry.target.is_ok() {
            problem = match self.desired(vault, &entry, stage) {
                Ok(desired) => self.apply(vault, &entry, desired, leading.term).await?,
                Err(problem) => Some(problem),
            };
        }
        if let Some(problem) = &problem {
            tracing::error!(%vault, "{problem}; retrying");
        }
        let outcome = match problem {
            Some(_) => Outcome::Failed,
            None => Outcome::Done,
        };
        leading.set_problem(vault, stage, problem);
        Ok(outcome)
    }

    /// Removes what is stored about a vault without a policy, and announces that it has no firewall any more. The
    /// garbage collection of Kubernetes deletes the objects: the deleted policies own them.
    async fn forget(&self, vault: &VaultId, leading: &Leading<'_>) -> Result<Outcome, Lost> {
        self.metrics.remove_proxy_certificate(vault);
        self.desired.remove(vault);
        leading.remove(vault);
        if !self.state.take_unprotected(vault) || self.state.is_terminating(&vault.namespace) {
            return Ok(Outcome::Done);
        }
        let service = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            name: Some(vault.service.clone()),
            namespace: Some(vault.namespace.clone()),
            ..ObjectReference::default()
        };
        let note = status::firewall_removed(vault);
        match self.events.write(leading.term, &service, note).await {
            Err(WriteError::Lost(lost)) => return Err(lost),
            // Events are for people; they are not retried.
            Err(WriteError::Api(error)) => {
                tracing::warn!(%vault, "cannot write an event: {error}");
            }
            Ok(()) => {}
        }
        Ok(Outcome::Done)
    }

    /// Returns the earlier pods of a vault whose Service can be protected.
    fn earlier_pods(&self, vault: &VaultId, entry: &VaultEntry) -> EarlierPods {
        let Ok(service) = &entry.target else {
            return EarlierPods::default();
        };
        let policies = self.objects.of_vault(vault, GeneratedKind::NetworkPolicy);
        EarlierPods::of(vault, service, policies)
    }

    /// Returns the desired objects of a stage; an error is a defect of this program.
    fn desired(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        stage: Stage,
    ) -> Result<Desired, String> {
        let policies = self.policies(entry);
        if stage == Stage::Isolation {
            let earlier = self.earlier_pods(vault, entry);
            return DesiredObjects::isolation(vault, entry, &policies, earlier);
        }
        let authority = self.authority.borrow().clone();
        let secret = self.objects.get(GeneratedKind::Secret, &object_name(vault));
        self.desired.proxies(
            vault,
            entry,
            &policies,
            &authority,
            secret.as_ref(),
            self.clock.now(),
        )
    }

    /// Applies the desired objects, and deletes superfluous policies of earlier pods. Returns the first error, in the
    /// API server's words.
    async fn apply(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        desired: Desired,
        term: &Term,
    ) -> Result<Option<String>, Lost> {
        let mut problem = None;
        let mut are_isolated = true;
        let mut has_bootstrap = true;
        for (kind, object) in desired.objects {
            if entry.cold_start && self.keeps_settings(vault, kind, &object) {
                continue;
            }
            let name = name_of(&object).name;
            let isolates =
                kind == GeneratedKind::NetworkPolicy && name != firewall_name(&vault.service);
            // The vault's policy still isolates the earlier pods: without a policy of theirs it must not change.
            if isolates && !are_isolated {
                continue;
            }
            // New proxies would start with the old bootstrap, and never read the new one.
            if kind == GeneratedKind::Deployment && !has_bootstrap {
                continue;
            }
            match self.objects.apply(term, kind, object).await {
                // The proxies have this certificate only after the write.
                Ok(_) if kind == GeneratedKind::Secret => {
                    if let Some(expiry) = desired.certificate_expiry {
                        self.metrics.set_proxy_certificate_expiry(vault, expiry);
                    }
                }
                Ok(_) => {}
                Err(ApplyError::Lost(lost)) => return Err(lost),
                Err(error) => {
                    has_bootstrap &= kind != GeneratedKind::ConfigMap;
                    are_isolated &= !isolates;
                    problem.get_or_insert_with(|| error.to_string());
                }
            }
        }
        for name in desired.superfluous.iter().filter(|_| are_isolated) {
            match self
                .objects
                .delete(term, GeneratedKind::NetworkPolicy, name)
                .await
            {
                Ok(()) => {}
                Err(ApplyError::Lost(lost)) => return Err(lost),
                Err(error) => {
                    problem.get_or_insert_with(|| error.to_string());
                }
            }
        }
        Ok(problem.or(desired.problem))
    }

    /// Whether an object exists that an earlier process generated from accepted settings, which this process does not
    /// have.
    fn keeps_settings(&self, vault: &VaultId, kind: GeneratedKind, object: &Value) -> bool {
        let has_settings = match kind {
            GeneratedKind::ConfigMap | GeneratedKind::Service | GeneratedKind::Deployment => true,
            // The NetworkPolicy of the vault's pods has no settings.
            GeneratedKind::NetworkPolicy => name_of(object).name == firewall_name(&vault.service),
            _ => false,
        };
        has_settings && self.objects.exists(kind, &name_of(object))
    }

    fn policies(&self, entry: &VaultEntry) -> Vec<Arc<StoredPolicy>> {
        let ids = entry.policies.iter();
        ids.filter_map(|id| self.state.policy(id)).collect()
    }

    /// Writes the status of every policy of a vault whose status differs, with its events.
    async fn write_statuses(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        terminating: bool,
        leading: &Leading<'_>,
    ) -> Result<Outcome, Lost> {
        let proxies = self.replicas.status(&vault.to_string());
        let settings = &entry.resolution.resolution.proxy;
        let stalled = self.objects.stalled(&object_name(vault));
        let apply_error = leading.problem(vault);
        let earlier = self.earlier_pods(vault, entry).policies(vault);
        let seen = VaultSeen {
            resolution: Some(&entry.resolution),
            cold_start: entry.cold_start,
            target: entry.problem.clone().map_or(Ok(()), Err),
            kept_port: entry.kept_port(),
            terminating,
            apply_error: apply_error.as_deref(),
            stalled: stalled.as_deref(),
            earlier: &earlier,
            openings: &entry.openings,
            // Before a policy is accepted, the settings in force are unknown.
            plain_http: (!entry.cold_start).then_some(PlainHttp {
                to_clients: settings.tls.is_none(),
                to_vault: settings.upstream_tls.is_none(),
            }),
            proxies: &proxies,
            ready: entry.ready,
            wanted: settings.replicas().into(),
            version: Some(&entry.version),
            endpoint: Some(self.desired.endpoint(vault, entry.ports().data)),
            management_endpoint: Some(self.desired.endpoint(vault, entry.ports().management)),
        };
        let reconnecting = leading.is_reconnecting(vault, proxies.connected);
        let waiting = leading.waiting(vault);
        let mut still_waiting = Debounce::default();
        let mut failed = false;
        for policy in self.policies(entry) {
            let policy_seen = PolicySeen {
                name: &policy.id.name,
                generation: policy.generation,
                status: policy.status.as_ref(),
                violations: policy.violations(),
                rules: rules(&policy),
            };
            let desired = status::status_of(&policy_seen, &seen, self.clock.now());
            let urgency = status::urgency(policy_seen.status, &desired, reconnecting);
            if leading.is_not_stored(vault, &policy, &desired)
                || waiting.waits(urgency, &mut still_waiting)
            {
                continue;
            }
            failed |= !self.write_status(vault, &policy, desired, leading).await?;
        }
        if failed {
            return Ok(Outcome::Failed);
        }
        Ok(leading.wait(vault, still_waiting))
    }

    /// Writes the status of one policy, and the events of the change. Returns false after a failure, which it logs.
    async fn write_status(
        &self,
        vault: &VaultId,
        policy: &StoredPolicy,
        desired: VaultNetworkPolicyStatus,
        leading: &Leading<'_>,
    ) -> Result<bool, Lost> {
        let term = leading.term;
        let read = Read {
            id: &policy.id,
            uid: &policy.uid,
            version: policy.version,
        };
        let written = self
            .statuses
            .replace::<VaultNetworkPolicy, _>(term, read, desired.clone());
        let written = match written.await {
            Ok(Some(written)) => written,
            // Changed or deleted in the meantime: the watch event of that enqueues the vault again.
            Ok(None) => return Ok(true),
            Err(WriteError::Lost(lost)) => return Err(lost),
            Err(WriteError::Api(error)) => {
                tracing::error!(policy = %policy.id, "cannot write the status: {error}; retrying");
                return Ok(false);
            }
        };
        let mut notes = status::events(policy.status.as_ref(), &desired);
        if status::difference(written.status.as_ref(), &desired) != Difference::None {
            let pruned = pruned_fields(&desired, written.status.as_ref());
            notes.extend(leading.outdated_definition(&policy.id, pruned));
            leading.set_not_stored(vault, policy, desired);
        }
        self.state
            .status_written(policy, written.status, written.version);
        for note in notes {
            match self.events.write(term, &reference(policy), note).await {
                Ok(()) => {}
                Err(WriteError::Lost(lost)) => return Err(lost),
                // Events are for people; they are not retried.
                Err(WriteError::Api(error)) => {
                    tracing::warn!(policy = %policy.id, "cannot write an event: {error}");
                }
            }
        }
        Ok(true)
    }
}

/// Returns the name of the objects that are generated for the proxies of a vault.
fn object_name(vault: &VaultId) -> ObjectName {
    ObjectName {
        namespace: vault.namespace.clone(),
        name: firewall_name(&vault.service),
    }
}

fn rules(policy: &StoredPolicy) -> Option<RuleCounts> {
    policy.valid().map(|valid| RuleCounts {
        virtual_networks: valid.virtual_network_rules.len(),
        ip: valid.ip_rules.len(),
    })
}

/// Returns the reference that events about a policy have.
fn reference(policy: &StoredPolicy) -> ObjectReference {
    let ObjectName { namespace, name } = &policy.id;
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some(KIND.to_owned()),
        name: Some(name.clone()),
        namespace: Some(namespace.clone()),
        uid: Some(policy.uid.clone()),
        ..ObjectReference::default()
    }
}
