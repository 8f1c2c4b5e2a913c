//! The leader's work: what belongs to each firewall is as it should be, and status says what is.
//!
//! One vault is worked on by one task at a time, several vaults side by side. What fails is tried again; what has not
//! settled is looked at again a moment later, so that a status is not written for a state of milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;

use super::book::{Book, PolicyEntry, VaultEntry};
use super::certificates::Authority;
use super::children::{Children, WriteError};
use super::clock::Clock;
use super::fleet::FleetMaker;
use super::leader::{Lost, Term};
use super::operations::{Metrics, WriteResult};
use super::replicas::Replicas;
use super::status::{self, EventKind, PolicySeen, RuleCounts, VaultSeen};
use crate::api::{GROUP, VERSION, VaultNetworkPolicy};
use crate::index::ObjectName;
use crate::index::objects::Object;
use crate::policy::VaultId;

/// Field manager of a policy's status.
const FIELD_MANAGER: &str = "vaultwall-status";
/// Vaults that are worked on side by side.
const AT_ONCE: usize = 8;
/// How long a state may last before it is written although it is one that passes.
const SETTLING: Duration = Duration::from_millis(500);
/// Waits after failures: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How often everything is looked at though nothing was seen to change.
const RESYNC: Duration = Duration::from_mins(10);

/// What the leader works with.
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) book: Arc<Book>,
    pub(super) children: Arc<Children>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) authority: watch::Receiver<Arc<Authority>>,
    pub(super) fleet: FleetMaker,
    pub(super) recorder: Recorder,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

/// What came of a look at a vault.
enum Looked {
    /// All is as it should be.
    Done,
    /// It is to be looked at again by itself.
    Unsettled,
    /// Something failed and was said.
    Failed,
}

/// A vault that is to be looked at later.
#[derive(Default)]
struct Later {
    /// When.
    due: BTreeMap<VaultId, Instant>,
    /// How long the wait was, for those that failed.
    waits: BTreeMap<VaultId, Duration>,
}

impl Later {
    fn failed(&mut self, vault: VaultId) {
        let wait = self.waits.entry(vault.clone()).or_insert(RETRY.0 / 2);
        *wait = (*wait * 2).min(RETRY.1);
        self.due.insert(vault, Instant::now() + *wait);
    }

    fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    fn take_due(&mut self) -> Vec<VaultId> {
        let now = Instant::now();
        let due: Vec<VaultId> = self
            .due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(vault, _)| vault.clone())
            .collect();
        for vault in &due {
            self.due.remove(vault);
        }
        due
    }
}

impl Writer {
    /// Works until the term is over.
    pub(super) async fn run(&self, term: &Term) -> Lost {
        self.children.listed().await;
        self.book.mark_all();
        let mut authority = self.authority.clone();
        let mut waiting: BTreeSet<VaultId> = BTreeSet::new();
        let mut busy: BTreeSet<VaultId> = BTreeSet::new();
        let mut unsettled: BTreeMap<VaultId, Instant> = BTreeMap::new();
        let mut later = Later::default();
        let mut looking = FuturesUnordered::new();
        loop {
            let ready: Vec<VaultId> = waiting
                .iter()
                .filter(|vault| !busy.contains(*vault))
                .take(AT_ONCE.saturating_sub(busy.len()))
                .cloned()
                .collect();
            for vault in ready {
                waiting.remove(&vault);
                busy.insert(vault.clone());
                let since = unsettled.get(&vault).copied();
                looking.push(async move {
                    let looked = self.look_at(&vault, term, since).await;
                    (vault, looked)
                });
            }
            let next = later.next();
            tokio::select! {
                marked = self.book.take_marked() => waiting.extend(marked),
                Some((vault, looked)) = looking.next() => {
                    busy.remove(&vault);
                    match looked {
                        Err(lost) => return lost,
                        Ok(Looked::Done) => {
                            unsettled.remove(&vault);
                            later.waits.remove(&vault);
                        }
                        Ok(Looked::Unsettled) => {
                            let since = *unsettled.entry(vault.clone()).or_insert_with(Instant::now);
                            later.due.insert(vault, since + SETTLING);
                        }
                        Ok(Looked::Failed) => later.failed(vault),
                    }
                }
                () = until(next) => waiting.extend(later.take_due()),
                () = self.clock.sleep(RESYNC) => self.book.mark_all(),
                Ok(()) = authority.changed() => self.book.mark_all(),
            }
        }
    }

    async fn look_at(
        &self,
        vault: &VaultId,
        term: &Term,
        unsettled_since: Option<Instant>,
    ) -> Result<Looked, Lost> {
        let Some(entry) = self.book.vault(vault) else {
            let exists = |uid: &str| self.book.has_policy(uid);
            return match self.children.retire(term, vault, exists).await {
                Ok(()) => Ok(Looked::Done),
                Err(WriteError::Lost(lost)) => Err(lost),
                Err(error) => {
                    tracing::error!(%vault, "{error}; it is tried again");
                    Ok(Looked::Failed)
                }
            };
        };
        let terminating = self.book.is_terminating(&vault.namespace);
        let problem = if terminating || entry.target.is_err() {
            None
        } else {
            self.apply(vault, &entry, term).await?
        };
        if let Some(problem) = &problem {
            tracing::error!(%vault, "{problem}; it is tried again");
        }
        let unsettled = self
            .tell(
                vault,
                &entry,
                problem.as_deref(),
                terminating,
                term,
                unsettled_since,
            )
            .await?;
        Ok(match (problem, unsettled) {
            (Some(_), _) => Looked::Failed,
            (None, looked) => looked,
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
        self.metrics
            .set_proxy_certificate_expiry(vault, wanted.certificate_expiry);
        let mut problem = None;
        for (kind, object) in &wanted.objects {
            match self.children.ensure(term, *kind, object).await {
                Ok(_) => {}
                Err(WriteError::Lost(lost)) => return Err(lost),
                Err(error) => {
                    problem.get_or_insert_with(|| error.to_string());
                }
            }
        }
        Ok(problem.or(wanted.problem))
    }

    fn policies(&self, entry: &VaultEntry) -> Vec<PolicyEntry> {
        let ids = entry.policies.iter();
        ids.filter_map(|id| self.book.policy(id)).collect()
    }

    /// Says in every policy's status what is.
    async fn tell(
        &self,
        vault: &VaultId,
        entry: &VaultEntry,
        apply_error: Option<&str>,
        terminating: bool,
        term: &Term,
        unsettled_since: Option<Instant>,
    ) -> Result<Looked, Lost> {
        let proxies = self.replicas.status(&vault.to_string());
        let seen = VaultSeen {
            resolution: Some(&entry.resolution),
            target: entry.target.as_ref().map(|_| ()).map_err(Clone::clone),
            terminating,
            apply_error,
            plain_http: true,
            proxies: &proxies,
            version: Some(&entry.version),
            endpoint: Some(self.fleet.endpoint(vault, entry.ports.data)),
            management_endpoint: Some(self.fleet.endpoint(vault, entry.ports.management)),
        };
        let patience_is_over = unsettled_since.is_some_and(|since| since.elapsed() >= SETTLING);
        let mut looked = Looked::Done;
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
            if !status::differs(stored, &wanted) {
                continue;
            }
            if !status::is_settled(&wanted) && !patience_is_over {
                looked = Looked::Unsettled;
                continue;
            }
            term.still_valid()?;
            if let Err(error) = self.write_status(&policy, &wanted).await {
                tracing::error!(policy = %policy.stored.id, "its status cannot be written: {error}");
                looked = Looked::Failed;
                continue;
            }
            self.announce(&policy, stored, &wanted).await;
        }
        Ok(looked)
    }

    async fn write_status(
        &self,
        policy: &PolicyEntry,
        wanted: &crate::api::VaultNetworkPolicyStatus,
    ) -> Result<(), kube::Error> {
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
        let answer = api
            .patch_status(name, &parameters, &Patch::Apply(&patch))
            .await;
        self.metrics
            .wrote("VaultNetworkPolicy/status", WriteResult::of(&answer));
        match answer {
            Ok(written) => {
                self.book.status_written(&policy.stored, written.status);
                Ok(())
            }
            // Deleted meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Events are for people who look; what fails here is not tried again.
    async fn announce(
        &self,
        policy: &PolicyEntry,
        stored: Option<&crate::api::VaultNetworkPolicyStatus>,
        wanted: &crate::api::VaultNetworkPolicyStatus,
    ) {
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
            let answer = self.recorder.publish(&event, &regarding).await;
            self.metrics.wrote("Event", WriteResult::of(&answer));
            if let Err(error) = answer {
                tracing::warn!(policy = %policy.stored.id, "an event cannot be posted: {error}");
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
