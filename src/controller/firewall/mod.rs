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
//! | [`status`] | desired status of a policy, and its events |
//! | [`debounce`] | how long a status that is not urgent waits |

pub(crate) mod changes;
mod debounce;
pub(crate) mod desired;
pub(crate) mod engine;
pub(crate) mod state;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::Value;
use tokio::sync::watch;

use self::debounce::{Debounce, RECONNECTING};
use self::desired::{Desired, DesiredObjects};
use self::state::{FirewallState, Scope, StoredPolicy, VaultEntry};
use self::status::{PlainHttp, PolicySeen, RuleCounts, VaultSeen};
use crate::api::{GROUP, VERSION, VaultNetworkPolicy, VaultNetworkPolicyStatus};
use crate::clock::Clock;
use crate::compile::firewall_name;
use crate::index::ObjectName;
use crate::policy::VaultId;
use crate::runtime::apply::{ApplyError, Claim, GeneratedKind, GeneratedObjects, Owner, name_of};
use crate::runtime::events::EventWriter;
use crate::runtime::leader::{Lost, Term};
use crate::runtime::operations::Metrics;
use crate::runtime::queue::{self, Outcome, Queue};
use crate::runtime::reflector::version_of;
use crate::runtime::replicas::Replicas;
use crate::runtime::status::StatusWriter;
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
/// Vaults that are reconciled at a time. The number is small: these writes are not urgent, and more of them at a time
/// slow down the API server for users.
const CONCURRENCY: usize = 2;
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

/// A term as leader, with what is only valid in this term.
struct Leading<'a> {
    term: &'a Term,
    began: Instant,
    /// Vaults of which a proxy was connected in this term.
    connected: Mutex<BTreeSet<VaultId>>,
    /// Status changes that wait, by vault.
    waiting: Mutex<BTreeMap<VaultId, Debounce>>,
}

impl Reconciler {
    /// Reconciles every vault that changes, until the term is over.
    pub(crate) async fn run(&self, term: &Term) -> Lost {
        self.objects.listed().await;
        self.state.enqueue_all();
        let leading = &Leading::new(term);
        let queue = Queue::new(CONCURRENCY, Scope::Objects);
        let changes = || self.state.next_queued();
        let reconcile =
            |vault: VaultId, scope| async move { self.reconcile(&vault, scope, leading).await };
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

    /// Reconciles one vault.
    async fn reconcile(
        &self,
        vault: &VaultId,
        scope: Scope,
        leading: &Leading<'_>,
    ) -> Result<Outcome<Scope>, Lost> {
        let Some(entry) = self.state.vault(vault) else {
            return self.prune(vault, leading).await;
        };
        let terminating = self.state.is_terminating(&vault.namespace);
        let mut problem = None;
        if scope == Scope::Objects && !terminating && entry.target.is_ok() {
            problem = match self.desired(vault, &entry) {
                Ok(desired) => self.apply(vault, &entry, desired, leading.term).await?,
                Err(problem) => Some(problem),
            };
        }
        if let Some(problem) = &problem {
            tracing::error!(%vault, "{problem}; retrying");
        }
        let problem = problem.as_deref();
        let written = self.write_statuses(vault, &entry, problem, terminating, leading);
        let outcome = written.await?;
        Ok(if problem.is_some() {
            Outcome::Failed
        } else {
            outcome
        })
    }

    /// Deletes the objects of a vault that no policy targets any more.
    async fn prune(&self, vault: &VaultId, leading: &Leading<'_>) -> Result<Outcome<Scope>, Lost> {
        self.metrics.remove_proxy_certificate(vault);
        self.desired.remove(vault);
        leading.remove(vault);
        let claim = |uid: &str| self.claim(uid, vault);
        match self.objects.prune(leading.term, vault, claim).await {
            Ok(true) => Ok(Outcome::Done),
            Ok(false) => Ok(Outcome::Failed),
            Err(ApplyError::Lost(lost)) => Err(lost),
            Err(error) => {
                tracing::error!(%vault, "{error}; retrying");
                Ok(Outcome::Failed)
            }
        }
    }

    /// Relation of the policy with this UID to a vault that no accepted policy targets. The target of an invalid policy
    /// does not count: an earlier generation of it may have been in force here.
    fn claim(&self, uid: &str, vault: &VaultId) -> Claim {
        match self.state.policy_of_uid(uid) {
            None => Claim::Deleted,
            Some(policy) => match policy.valid() {
                Some(policy) if policy.vault != *vault => Claim::Released,
                _ => Claim::Held,
            },
        }
    }

    /// Returns the desired objects; an error is a defect of this program.
    fn desired(&self, vault: &VaultId, entry: &VaultEntry) -> Result<Desired, String> {
        let policies = self.policies(entry);
        let authority = self.authority.borrow().clone();
        let secret = self.objects.get(GeneratedKind::Secret, &object_name(vault));
        self.desired.of(
            vault,
            entry,
            &policies,
            &authority,
            secret.as_ref(),
            self.clock.now(),
        )
    }

    /// Applies the desired objects. Returns the first error, in the API server's words.
    async fn apply(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        desired: Desired,
        term: &Term,
    ) -> Result<Option<String>, Lost> {
        let mut problem = None;
        let mut has_bootstrap = true;
        for (kind, object) in desired.objects {
            if entry.cold_start && self.keeps_settings(vault, kind, &object) {
                continue;
            }
            // New proxies would start with the old bootstrap, and never read the new one.
            if kind == GeneratedKind::Deployment && !has_bootstrap {
                continue;
            }
            match self.objects.apply(term, kind, object).await {
                // The proxies have this certificate only after the write.
                Ok(_) if kind == GeneratedKind::Secret => self
                    .metrics
                    .set_proxy_certificate_expiry(vault, desired.certificate_expiry),
                Ok(_) => {}
                Err(ApplyError::Lost(lost)) => return Err(lost),
                Err(error) => {
                    has_bootstrap &= kind != GeneratedKind::ConfigMap;
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
        apply_error: Option<&str>,
        terminating: bool,
        leading: &Leading<'_>,
    ) -> Result<Outcome<Scope>, Lost> {
        let proxies = self.replicas.status(&vault.to_string());
        let settings = &entry.resolution.resolution.proxy;
        let stalled = self.objects.stalled(&object_name(vault));
        let seen = VaultSeen {
            resolution: Some(&entry.resolution),
            cold_start: entry.cold_start,
            target: entry.target.as_ref().map(|_| ()).map_err(Clone::clone),
            terminating,
            apply_error,
            stalled: stalled.as_deref(),
            // Before a policy is accepted, the settings in force are unknown.
            plain_http: (!entry.cold_start).then_some(PlainHttp {
                to_clients: settings.tls.is_none(),
                to_vault: settings.upstream_tls.is_none(),
            }),
            proxies: &proxies,
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
            if waiting.waits(urgency, &mut still_waiting) {
                continue;
            }
            failed |= !self.write_status(&policy, &desired, leading.term).await?;
        }
        if failed {
            return Ok(Outcome::Failed);
        }
        Ok(leading.wait(vault, still_waiting))
    }

    /// Writes the status of one policy, and the events of the change. Returns false after a failure, which it logs.
    async fn write_status(
        &self,
        stored: &StoredPolicy,
        desired: &VaultNetworkPolicyStatus,
        term: &Term,
    ) -> Result<bool, Lost> {
        let own = status::own_part(desired);
        let written = self.statuses.apply(term, &stored.id, &stored.uid, &own);
        let written: VaultNetworkPolicy = match written.await {
            Ok(Some(written)) => written,
            // Deleted in the meantime.
            Ok(None) => return Ok(true),
            Err(WriteError::Lost(lost)) => return Err(lost),
            Err(WriteError::Api(error)) => {
                tracing::error!(policy = %stored.id, "cannot write the status: {error}; retrying");
                return Ok(false);
            }
        };
        let version = version_of(&written);
        self.state.status_written(stored, written.status, version);
        for note in status::events(stored.status.as_ref(), desired) {
            match self.events.write(term, &reference(stored), note).await {
                Ok(()) => {}
                Err(WriteError::Lost(lost)) => return Err(lost),
                // Events are for people; they are not retried.
                Err(WriteError::Api(error)) => {
                    tracing::warn!(policy = %stored.id, "cannot write an event: {error}");
                }
            }
        }
        Ok(true)
    }
}

impl<'a> Leading<'a> {
    fn new(term: &'a Term) -> Self {
        Self {
            term,
            began: Instant::now(),
            connected: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// Whether the proxies of a vault may still be about to connect to this replica or to another one.
    fn is_reconnecting(&self, vault: &VaultId, connected: usize) -> bool {
        // The set is consistent after every statement, so a poisoned lock can be used.
        let known = self.connected.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if connected > 0 {
            known.insert(vault.clone());
        }
        !known.contains(vault) && self.began.elapsed() < RECONNECTING
    }

    fn waiting(&self, vault: &VaultId) -> Debounce {
        let waiting = self.waiting.lock();
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        waiting.get(vault).copied().unwrap_or_default()
    }

    /// Stores the status changes of a vault that wait, and returns when they are due.
    fn wait(&self, vault: &VaultId, waiting: Debounce) -> Outcome<Scope> {
        let all = self.waiting.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.insert(vault.clone(), waiting);
        match waiting.due(self.began) {
            Some(due) => Outcome::Requeue(due, Scope::Status),
            None => Outcome::Done,
        }
    }

    fn remove(&self, vault: &VaultId) {
        let connected = self.connected.lock();
        connected
            .unwrap_or_else(PoisonError::into_inner)
            .remove(vault);
        let waiting = self.waiting.lock();
        waiting
            .unwrap_or_else(PoisonError::into_inner)
            .remove(vault);
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
