//! Reflector of one kind of object: kube's `watcher` as a sequence of changes that a cache can apply.
//!
//! A relist (after a reconnect or an expired resource version) loses no deletion: an object that is not in the new list
//! is reported as deleted. An interrupted watch is counted, logged and resumed; it never ends the reflector.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::index::ObjectName;
use crate::runtime::operations::Metrics;

/// One change of the watched objects.
#[derive(Debug)]
pub(crate) enum Change<K> {
    /// The object exists and has this content.
    Applied(K),
    /// The object was deleted, by a deletion of this version or by a list without it.
    Deleted(ObjectName, Option<u64>),
    /// Every object was listed; these are their names. Deletions of others come before this.
    Listed(BTreeSet<ObjectName>),
}

/// Watch of one kind.
pub(crate) struct Reflector<K: 'static> {
    kind: &'static str,
    events: BoxStream<'static, Result<Event<K>, watcher::Error>>,
    metrics: Arc<Metrics>,
    known: BTreeSet<ObjectName>,
    listing: BTreeSet<ObjectName>,
    changes: VecDeque<Change<K>>,
}

impl<K> Reflector<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Creates the reflector; the watch starts with the first [`Reflector::next`]. `kind` is for the log and the
    /// metrics.
    pub(crate) fn new(
        kind: &'static str,
        api: Api<K>,
        config: watcher::Config,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self::over(
            kind,
            watcher(api, config).default_backoff().boxed(),
            metrics,
        )
    }

    fn over(
        kind: &'static str,
        events: BoxStream<'static, Result<Event<K>, watcher::Error>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            kind,
            events,
            metrics,
            known: BTreeSet::new(),
            listing: BTreeSet::new(),
            changes: VecDeque::new(),
        }
    }

    /// Returns the next change; none after the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Change<K>> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Some(change);
            }
            match self.events.next().await? {
                Ok(event) => self.handle(event),
                Err(error) => {
                    let kind = self.kind;
                    self.metrics.watch_restarted(kind);
                    tracing::warn!("the watch of {kind} was interrupted and is resumed: {error}");
                }
            }
        }
    }

    fn handle(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.insert(name_of(&object));
                self.apply(object);
            }
            Event::Apply(object) => self.apply(object),
            Event::Delete(object) => {
                let name = name_of(&object);
                self.known.remove(&name);
                let version = version_of(&object);
                self.changes.push_back(Change::Deleted(name, Some(version)));
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                let deleted = self.known.difference(&listed).cloned();
                self.changes
                    .extend(deleted.map(|name| Change::Deleted(name, None)));
                self.known.clone_from(&listed);
                self.changes.push_back(Change::Listed(listed));
            }
        }
    }

    fn apply(&mut self, object: K) {
        self.known.insert(name_of(&object));
        self.changes.push_back(Change::Applied(object));
    }
}

/// Name of an object; the namespace of a cluster-scoped object is empty.
pub(crate) fn name_of<K: Resource>(object: &K) -> ObjectName {
    ObjectName {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// Resource version of an object as a number: a later write has a greater one. 0 if it has none.
pub(crate) fn version_of<K: Resource>(object: &K) -> u64 {
    number_of(object.resource_version().as_deref())
}

/// A resource version as a number.
pub(crate) fn number_of(version: Option<&str>) -> u64 {
    let version = version.and_then(|version| version.parse().ok());
    version.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(name: &str, version: u64) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some("default".to_owned()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn reflector(events: Vec<Result<Event<ConfigMap>, watcher::Error>>) -> Reflector<ConfigMap> {
        let (metrics, _) = Metrics::new();
        Reflector::over("ConfigMap", stream::iter(events).boxed(), Arc::new(metrics))
    }

    /// Changes in short form: `+a`, `-a@5`, `-a`, `=a,b`.
    async fn changes(mut reflector: Reflector<ConfigMap>) -> Vec<String> {
        let mut changes = Vec::new();
        while let Some(change) = reflector.next().await {
            changes.push(match change {
                Change::Applied(object) => format!("+{}", object.name_any()),
                Change::Deleted(name, Some(version)) => format!("-{}@{version}", name.name),
                Change::Deleted(name, None) => format!("-{}", name.name),
                Change::Listed(names) => {
                    let names: Vec<String> = names.into_iter().map(|name| name.name).collect();
                    format!("={}", names.join(","))
                }
            });
        }
        changes
    }

    #[tokio::test]
    async fn an_object_that_is_not_in_a_new_list_is_reported_as_deleted() {
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply(object("a", 1))),
            Ok(Event::InitApply(object("b", 2))),
            Ok(Event::InitDone),
            Ok(Event::Apply(object("c", 3))),
            Ok(Event::Delete(object("b", 4))),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Init),
            Ok(Event::InitApply(object("c", 3))),
            Ok(Event::InitDone),
        ];
        let expected = ["+a", "+b", "=a,b", "+c", "-b@4", "+c", "-a", "=c"];
        assert_eq!(changes(reflector(events)).await, expected);
    }

    #[tokio::test]
    async fn an_interrupted_list_starts_again() {
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply(object("a", 1))),
            Ok(Event::Init),
            Ok(Event::InitApply(object("b", 2))),
            Ok(Event::InitDone),
        ];
        let expected = ["+a", "+b", "-a", "=b"];
        assert_eq!(changes(reflector(events)).await, expected);
    }

    #[tokio::test]
    async fn a_list_of_nothing_is_reported() {
        let events = vec![Ok(Event::Init), Ok(Event::InitDone)];
        assert_eq!(changes(reflector(events)).await, ["="]);
    }
}
