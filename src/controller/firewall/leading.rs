//! Results of one term as leader that later stages and reconciles need. It makes no decision about a firewall and calls
//! no API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::RESYNC;
use super::state::{Stage, StoredPolicy};
use super::status::{Difference, difference};
use crate::api::{GROUP, VaultNetworkPolicyStatus};
use crate::controller::debounce::{Debounce, RECONNECTING};
use crate::index::ObjectName;
use crate::policy::VaultId;
use crate::runtime::events::{EventKind, EventNote};
use crate::runtime::leader::Term;
use crate::runtime::queue::Outcome;

/// Reason of the event about a CRD that is older than the operator.
const OUTDATED: &str = "OutdatedDefinition";

/// A term as leader, with what is only valid in this term.
pub(super) struct Leading<'a> {
    pub(super) term: &'a Term,
    began: Instant,
    vaults: Mutex<BTreeMap<VaultId, Progress>>,
    /// Fields of a status that the installed CRD does not have and that were reported.
    pruned: Mutex<BTreeSet<String>>,
}

/// Results of the stages of one vault.
#[derive(Debug, Default)]
struct Progress {
    /// Whether a proxy was connected.
    connected: bool,
    /// Status changes that wait.
    waiting: Debounce,
    /// Reason why each stage failed the last time.
    problems: BTreeMap<Stage, String>,
    /// Statuses that the API server accepted and did not store as they were sent, by the policy's UID.
    not_stored: BTreeMap<String, (Instant, VaultNetworkPolicyStatus)>,
}

impl<'a> Leading<'a> {
    pub(super) fn new(term: &'a Term) -> Self {
        Self {
            term,
            began: Instant::now(),
            vaults: Mutex::default(),
            pruned: Mutex::default(),
        }
    }

    fn vaults(&self) -> MutexGuard<'_, BTreeMap<VaultId, Progress>> {
        // The map is consistent after every statement, so a poisoned lock can be used.
        self.vaults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the proxies of a vault may still be about to connect to this replica or to another one.
    pub(super) fn is_reconnecting(&self, vault: &VaultId, connected: usize) -> bool {
        let mut vaults = self.vaults();
        let known = &mut vaults.entry(vault.clone()).or_default().connected;
        *known |= connected > 0;
        !*known && self.began.elapsed() < RECONNECTING
    }

    /// Stores why a stage failed; none: it succeeded.
    pub(super) fn set_problem(&self, vault: &VaultId, stage: Stage, problem: Option<String>) {
        let mut vaults = self.vaults();
        let problems = &mut vaults.entry(vault.clone()).or_default().problems;
        match problem {
            Some(problem) => problems.insert(stage, problem),
            None => problems.remove(&stage),
        };
    }

    /// Problem of the most urgent stage that failed.
    pub(super) fn problem(&self, vault: &VaultId) -> Option<String> {
        let vaults = self.vaults();
        vaults.get(vault)?.problems.values().next().cloned()
    }

    pub(super) fn waiting(&self, vault: &VaultId) -> Debounce {
        let vaults = self.vaults();
        let waiting = vaults.get(vault).map(|progress| progress.waiting);
        waiting.unwrap_or_default()
    }

    /// Stores the status changes of a vault that wait, and returns when they are due.
    pub(super) fn wait(&self, vault: &VaultId, waiting: Debounce) -> Outcome {
        self.vaults().entry(vault.clone()).or_default().waiting = waiting;
        let due = waiting.due(self.began);
        due.map_or(Outcome::Done, Outcome::Requeue)
    }

    /// Records that the API server did not store a status as it was sent: writing it again would change nothing.
    pub(super) fn set_not_stored(
        &self,
        vault: &VaultId,
        policy: &StoredPolicy,
        sent: VaultNetworkPolicyStatus,
    ) {
        let mut vaults = self.vaults();
        let not_stored = &mut vaults.entry(vault.clone()).or_default().not_stored;
        not_stored.insert(policy.uid.clone(), (Instant::now(), sent));
    }

    /// Whether the API server does not store this status. The regular reconcile sends it again: the CRD may have been
    /// replaced.
    pub(super) fn is_not_stored(
        &self,
        vault: &VaultId,
        policy: &StoredPolicy,
        desired: &VaultNetworkPolicyStatus,
    ) -> bool {
        let vaults = self.vaults();
        let sent = vaults.get(vault).map(|progress| &progress.not_stored);
        let sent = sent.and_then(|sent| sent.get(&policy.uid));
        sent.is_some_and(|(at, sent)| {
            at.elapsed() < RESYNC / 2 && difference(Some(sent), desired) == Difference::None
        })
    }

    /// Logs that the installed CRD does not have some fields of a status, and returns the event: once for each field.
    pub(super) fn outdated_definition(
        &self,
        policy: &ObjectName,
        pruned: Vec<String>,
    ) -> Option<EventNote> {
        let known = self.pruned.lock();
        // The set is consistent after every statement, so a poisoned lock can be used.
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let mut new = pruned;
        new.retain(|field| known.insert(field.clone()));
        if new.is_empty() {
            return None;
        }
        let note = format!(
            "the installed CustomResourceDefinition vaultnetworkpolicies.{GROUP} is older than the operator: it does \
             not have {}, which the status therefore lacks; apply charts/vaultwall-crds of version {} first",
            new.join(", "),
            env!("CARGO_PKG_VERSION")
        );
        tracing::error!(%policy, "{note}");
        Some(EventNote {
            kind: EventKind::Warning,
            reason: OUTDATED.to_owned(),
            action: "Report",
            note,
        })
    }

    /// Removes a vault that no policy targets any more.
    pub(super) fn remove(&self, vault: &VaultId) {
        self.vaults().remove(vault);
    }
}
