//! The leader's work: what belongs to each firewall is as it should be, and status says what is.
//!
//! One vault is worked on by one task at a time, several vaults side by side. What fails is tried again; what has not
//! settled is looked at again a moment later, so that a status is not written for a state of milliseconds.

mod later;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;

use self::later::{Later, RECONNECTING, Waiting};
use crate::api::{GROUP, VERSION, VaultNetworkPolicy, VaultNetworkPolicyStatus};
use crate::clock::Clock;
use crate::compile::firewall_name;
use crate::controller::firewall::desired::FleetMaker;
use crate::controller::firewall::state::{FirewallState, PolicyEntry, Scope, VaultEntry};
use crate::controller::firewall::status::{
    self, EventKind, PlainHttp, PolicySeen, RuleCounts, VaultSeen,
};
use crate::index::ObjectName;
use crate::objects::Object;
use crate::policy::VaultId;
use crate::runtime::generated::{ChildKind, Children, WriteError, name_of};
use crate::runtime::leader::{Lost, Term};
use crate::runtime::operations::{Metrics, WriteResult};
use crate::runtime::replicas::Replicas;
use crate::runtime::watch::version_of;
use crate::transport::certificates::Authority;

/// Field manager of a policy's status.
const FIELD_MANAGER: &str = "vaultwall-status";
/// Vaults that are worked on side by side. Few: what is written here is in no hurry, and more of it at once makes the API
/// server slow for those who edit policies.
const AT_ONCE: usize = 2;
/// How often everything is looked at though nothing was seen to change.
const RESYNC: Duration = Duration::from_mins(10);

/// What the leader works with.
pub(crate) struct Writer {
    pub(crate) client: Client,
    pub(crate) state: Arc<FirewallState>,
    pub(crate) children: Arc<Children>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) authority: watch::Receiver<Arc<Authority>>,
    pub(crate) fleet: FleetMaker,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
}

/// What came of a look at a vault.
enum Looked {
    /// What could be written is; the rest waits.
    Done(Waiting),
    /// Something could not be done and was said.
    Again,
}

/// A term as leader, and since when.
#[derive(Clone, Copy)]
struct Leading<'a> {
    term: &'a Term,
    began: Instant,
}

impl Writer {
    /// Works until the term is over.
    pub(crate) async fn run(&self, term: &Term) -> Lost {
        self.children.listed().await;
        self.state.enqueue_all();
        let leading = Leading {
            term,
            began: Instant::now(),
        };
        let mut authority = self.authority.clone();
        let mut marked: BTreeMap<VaultId, Scope> = BTreeMap::new();
        let mut busy: BTreeSet<VaultId> = BTreeSet::new();
        let mut later = Later::default();
        let mut looking = FuturesUnordered::new();
        let mut resync = Box::pin(self.clock.sleep(RESYNC));
        loop {
            let ready: Vec<VaultId> = marked
                .keys()
                .filter(|vault| !busy.contains(*vault))
                .take(AT_ONCE.saturating_sub(busy.len()))
                .cloned()
                .collect();
            for vault in ready {
                let Some(look) = marked.remove(&vault) else {
                    continue;
                };
                let look = later.at_least(&vault, look);
                let waiting = later.waiting(&vault);
                busy.insert(vault.clone());
                looking.push(async move {
                    let looked = self.look_at(&vault, look, leading, waiting).await;
                    (vault, looked)
                });
            }
            let next = later.next();
            let news = tokio::select! {
                news = self.state.next_queued() => news,
                Some((vault, looked)) = looking.next() => {
                    busy.remove(&vault);
                    match looked {
                        Err(lost) => return lost,
                        Ok(Looked::Done(waiting)) => later.done(vault, waiting, leading.began),
                        Ok(Looked::Again) => later.again(vault),
                    }
                    continue;
                }
                () = until(next) => later.take_due(),
                () = &mut resync => {
                    resync.set(self.clock.sleep(RESYNC));
                    self.state.enqueue_all();
                    continue;
                }
                Ok(()) = authority.changed() => {
                    self.state.enqueue_all();
                    continue;
                }
            };
            for (vault, look) in news {
                let marked = marked.entry(vault).or_insert(look);
                *marked = (*marked).max(look);
            }
        }
    }

    async fn look_at(
        &self,
        vault: &VaultId,
        look: Scope,
        leading: Leading<'_>,
        waiting: Waiting,
    ) -> Result<Looked, Lost> {
        let Some(entry) = self.state.vault(vault) else {
            self.metrics.remove_proxy_certificate(vault);
            self.fleet.forget(vault);
            return match self.children.retire(leading.term, vault).await {
                Ok(true) => Ok(Looked::Done(Waiting::default())),
                Ok(false) => Ok(Looked::Again),
                Err(WriteError::Lost(lost)) => Err(lost),
                Err(error) => {
                    tracing::error!(%vault, "{error}; it is tried again");
                    Ok(Looked::Again)
                }
            };
        };
        let terminating = self.state.is_terminating(&vault.namespace);
        let problem = if look < Scope::Objects || terminating || entry.target.is_err() {
            None
        } else {
            self.apply(vault, &entry, leading.term).await?
        };
        if let Some(problem) = &problem {
            tracing::error!(%vault, "{problem}; it is tried again");
        }
        let told = self
            .tell(
                vault,
                &entry,
                problem.as_deref(),
                terminating,
                leading,
                waiting,
            )
            .await?;
        Ok(if problem.is_some() {
            Looked::Again
        } else {
            told
        })
    }

    /// Writes what belongs to the firewall. What could not be written, in the API server's words.
    async fn apply(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        term: &Term,
    ) -> Result<Option<String>, Lost> {
        let policies = self.policies(entry);
        let authority = self.authority.borrow().clone();
        let wanted = match self.fleet.make(
            vault,
            entry,
            &policies,
            &authority,
            &self.children,
            &self.clock,
        ) {
            Ok(wanted) => wanted,
            Err(problem) => return Ok(Some(problem)),
        };
        let mut problem = None;
        let mut without_files = false;
        for (kind, object) in wanted.objects {
            if entry.cold_start && self.keeps_settings(vault, kind, &object) {
                continue;
            }
            // New proxies would be started with the old files, and never look at the new ones.
            if kind == ChildKind::Deployment && without_files {
                continue;
            }
            match self.children.ensure(term, kind, object).await {
                // Now it is theirs, and no sooner.
                Ok(_) if kind == ChildKind::Secret => self
                    .metrics
                    .set_proxy_certificate_expiry(vault, wanted.certificate_expiry),
                Ok(_) => {}
                Err(WriteError::Lost(lost)) => return Err(lost),
                Err(error) => {
                    without_files |= kind == ChildKind::ConfigMap;
                    problem.get_or_insert_with(|| error.to_string());
                }
            }
        }
        Ok(problem.or(wanted.problem))
    }

    /// Whether an object is there that was made from settings which nobody knows any more.
    fn keeps_settings(&self, vault: &VaultId, kind: ChildKind, object: &Value) -> bool {
        let of_settings = match kind {
            ChildKind::ConfigMap | ChildKind::Service | ChildKind::Deployment => true,
            // The wall around the vault's pods has none.
            ChildKind::NetworkPolicy => name_of(object).name == firewall_name(&vault.service),
            _ => false,
        };
        of_settings && self.children.has(kind, &name_of(object))
    }

    fn policies(&self, entry: &VaultEntry) -> Vec<PolicyEntry> {
        let ids = entry.policies.iter();
        ids.filter_map(|id| self.state.policy(id)).collect()
    }

    /// Says in every policy's status what is.
    async fn tell(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        apply_error: Option<&str>,
        terminating: bool,
        leading: Leading<'_>,
        waiting: Waiting,
    ) -> Result<Looked, Lost> {
        let proxies = self.replicas.status(&vault.to_string());
        let settings = &entry.resolution.resolution.proxy;
        let stalled = self.children.stalled(&ObjectName {
            namespace: vault.namespace.clone(),
            name: firewall_name(&vault.service),
        });
        let seen = VaultSeen {
            resolution: Some(&entry.resolution),
            cold_start: entry.cold_start,
            target: entry.target.as_ref().map(|_| ()).map_err(Clone::clone),
            terminating,
            apply_error,
            stalled: stalled.as_deref(),
            // In a cold_start nobody knows the settings.
            plain_http: (!entry.cold_start).then_some(PlainHttp {
                to_clients: settings.tls.is_none(),
                to_vault: settings.upstream_tls.is_none(),
            }),
            proxies: &proxies,
            version: Some(&entry.version),
            endpoint: Some(self.fleet.endpoint(vault, entry.ports.data)),
            management_endpoint: Some(self.fleet.endpoint(vault, entry.ports.management)),
        };
        let mut still = Waiting::new(waiting.heard || proxies.connected > 0);
        let reconnecting = !still.heard && leading.began.elapsed() < RECONNECTING;
        let mut failed = false;
        for policy in self.policies(entry) {
            let stored = policy.stored.status.as_ref();
            let rules = match &policy.stored.read {
                Ok(Object::Policy(read)) => Some(RuleCounts {
                    virtual_networks: read.virtual_network_rules.len(),
                    ip: read.ip_rules.len(),
                }),
                _ => None,
            };
            let policy_seen = PolicySeen {
                name: &policy.stored.id.name,
                generation: policy.stored.generation,
                status: stored,
                violations: policy.violations(),
                rules,
            };
            let wanted = status::status_of(&policy_seen, &seen, self.clock.now());
            let urgency = status::urgency(stored, &wanted, reconnecting);
            if waiting.goes_on(urgency, &mut still) {
                continue;
            }
            leading.term.still_valid()?;
            match self.write_status(&policy, &wanted, leading.term).await {
                Ok(true) => {
                    self.announce(&policy, stored, &wanted, leading.term)
                        .await?;
                }
                // Deleted meanwhile.
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(policy = %policy.stored.id, "its status cannot be written: {error}");
                    failed = true;
                }
            }
        }
        Ok(if failed {
            Looked::Again
        } else {
            Looked::Done(still)
        })
    }

    /// Whether it was written; a policy that was deleted meanwhile has no status.
    async fn write_status(
        &self,
        policy: &PolicyEntry,
        wanted: &VaultNetworkPolicyStatus,
        term: &Term,
    ) -> Result<bool, kube::Error> {
        let ObjectName { namespace, name } = &policy.stored.id;
        let api: Api<VaultNetworkPolicy> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "VaultNetworkPolicy",
            // Of this very object: one of the same name that came later has a status of its own.
            "metadata": {"name": name, "namespace": namespace, "uid": policy.stored.uid},
            "status": status::own_part(wanted),
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&patch);
        let answer = term
            .limited(api.patch_status(name, &parameters, &patch))
            .await;
        self.metrics
            .wrote("VaultNetworkPolicy/status", WriteResult::of(&answer));
        match answer {
            Ok(written) => {
                let version = version_of(&written);
                self.state
                    .status_written(&policy.stored, written.status, version);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Events are for people who look; what fails here is not tried again.
    async fn announce(
        &self,
        policy: &PolicyEntry,
        stored: Option<&VaultNetworkPolicyStatus>,
        wanted: &VaultNetworkPolicyStatus,
        term: &Term,
    ) -> Result<(), Lost> {
        let ObjectName { namespace, name } = &policy.stored.id;
        let regarding = ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some("VaultNetworkPolicy".to_owned()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: Some(policy.stored.uid.clone()),
            ..ObjectReference::default()
        };
        for note in status::events(stored, wanted) {
            let event = Event {
                type_: match note.kind {
                    EventKind::Normal => EventType::Normal,
                    EventKind::Warning => EventType::Warning,
                },
                reason: note.reason.clone(),
                note: Some(note.note),
                action: note.action.to_owned(),
                secondary: None,
            };
            term.still_valid()?;
            let answer = term
                .limited(self.recorder.publish(&event, &regarding))
                .await;
            self.metrics.wrote("Event", WriteResult::of(&answer));
            if let Err(error) = answer {
                tracing::warn!(policy = %policy.stored.id, "an event cannot be posted: {error}");
            }
        }
        Ok(())
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
