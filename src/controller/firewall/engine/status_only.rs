//! Kinds that have nothing but a status: applies what a watch saw of their objects to the index, and stores it for
//! their reconcilers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::controller::statuses::StatusOnly;
use crate::controller::statuses::networks::{Networks, SubnetCounts};
use crate::controller::statuses::services::Services;
use crate::controller::statuses::state::{States, Stored};
use crate::index::{Index, Key, Kind, Object, ObjectName, ObservedService};
use crate::runtime::watch::Observed;

/// States of the objects of these kinds.
#[derive(Default)]
pub(crate) struct StatusOnlyKinds {
    networks: Arc<States<Networks>>,
    services: Arc<States<Services>>,
    /// Services of the current batch. Facts about them are complete only when every kind was listed.
    seen: BTreeMap<ObjectName, Stored<Services>>,
}

impl StatusOnlyKinds {
    pub(crate) fn new(networks: Arc<States<Networks>>, services: Arc<States<Services>>) -> Self {
        Self {
            networks,
            services,
            seen: BTreeMap::new(),
        }
    }

    /// Applies an object of one of the kinds; returns one of another kind.
    pub(super) fn apply(&mut self, observed: Observed, index: &mut Index) -> Option<Observed> {
        let id = observed.key.name.clone();
        match observed.key.kind {
            Kind::VirtualNetwork => {
                let known = self.networks.get(&id).map(|known| known.uid.clone());
                let facts = |object: &Object| object.virtual_network().map(SubnetCounts::of);
                let mut network = stored(observed, known, index, facts);
                network.has_earlier = index.has_virtual_network(&id.name);
                self.networks.set(&id, network);
            }
            Kind::TrustedService => {
                let known = self.seen.get(&id).map(|seen| seen.uid.clone());
                let known = known.or_else(|| Some(self.services.get(&id)?.uid.clone()));
                let facts = |_: &Object| Some(ObservedService::default());
                let mut service = stored(observed, known, index, facts);
                service.has_earlier = index.trusted_service(&id.name).is_some();
                self.seen.insert(id, service);
            }
            _ => return Some(observed),
        }
        None
    }

    /// Removes a deleted object; one of another kind changes nothing.
    pub(super) fn remove(&mut self, key: &Key) {
        match key.kind {
            Kind::VirtualNetwork => self.networks.remove(&key.name),
            Kind::TrustedService => {
                self.seen.remove(&key.name);
                self.services.remove(&key.name);
            }
            _ => {}
        }
    }

    /// Stores the services of a batch, and the facts about those that it has changed.
    pub(super) fn commit(&mut self, index: &mut Index) {
        for (id, mut service) in std::mem::take(&mut self.seen) {
            if let Ok(facts) = &mut service.read {
                *facts = index.observe_service(&id.name).unwrap_or_default();
            }
            self.services.set(&id, service);
        }
        for name in index.take_changed_services() {
            if let Some(facts) = index.observe_service(&name) {
                let id = ObjectName::cluster_scoped(name);
                self.services.set_facts(&id, facts);
            }
        }
    }
}

/// Applies an object to the index, and returns it in the form that is stored. `known` is the uid of the stored one.
fn stored<K: StatusOnly<Facts: Default>>(
    observed: Observed,
    known: Option<String>,
    index: &mut Index,
    facts: impl Fn(&Object) -> Option<K::Facts>,
) -> Stored<K> {
    let Observed {
        key,
        uid,
        version,
        generation,
        status,
        read,
    } = observed;
    if known.is_some_and(|known| known != uid) {
        // Deleted and created again between two events: nothing of the former one stays.
        index.delete(&key);
    }
    let read = match read {
        Ok(object) => {
            let facts = facts(&object).unwrap_or_default();
            index.apply(object);
            Ok(facts)
        }
        Err(refused) => {
            for violation in &refused.violations {
                tracing::error!(
                    "{key}: {}: {}; its last valid form stays in force",
                    violation.field,
                    violation.message
                );
            }
            Err(refused.violations)
        }
    };
    Stored {
        uid,
        version,
        generation,
        status: status.and_then(|status| serde_json::from_value(status).ok()),
        read,
        has_earlier: false,
    }
}
