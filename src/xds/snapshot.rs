//! All resources of one firewall at one moment: immutable, cheap to share, comparable.
//!
//! A snapshot holds what its listeners refer to and nothing else: a resource that no proxy ever asks for counts as
//! not yet in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::resource::{Resource, ResourceType, content_version};

/// The resources of one firewall. An empty one is a statement, too: nothing listens.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    version: String,
    cold_start: bool,
    resources: BTreeMap<ResourceType, BTreeMap<String, Arc<Resource>>>,
}

impl Snapshot {
    /// A snapshot of these resources. Of two with the same type and name the later one counts: the compiler gives
    /// every resource a name of its own.
    pub fn new(resources: Vec<Resource>) -> Self {
        let mut by_type: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for resource in resources {
            by_type
                .entry(resource.kind)
                .or_default()
                .insert(resource.name.clone(), Arc::new(resource));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for resource in by_type.values().flat_map(BTreeMap::values) {
            parts.extend([
                resource.kind.type_url().as_bytes(),
                resource.name.as_bytes(),
                resource.version.as_bytes(),
            ]);
        }
        Self {
            version: content_version(&parts),
            cold_start: false,
            resources: by_type,
        }
    }

    /// The same, for proxies that have nothing: one that kept something from an earlier server keeps that.
    #[must_use]
    pub fn as_cold_start(self) -> Self {
        Self {
            cold_start: true,
            ..self
        }
    }

    /// Whether it is only for proxies that have nothing.
    pub fn is_cold_start(&self) -> bool {
        self.cold_start
    }

    /// Stands for the content of the whole: equal versions are equal snapshots, also across processes.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// One resource.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&kind)?.get(name)
    }

    /// The resources of one type, by name.
    pub fn of(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources
            .get(&kind)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// All resources, in sending order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values().flat_map(BTreeMap::values)
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources.values().map(BTreeMap::len).sum()
    }

    /// Whether there is no resource at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::testing::{cluster, filter, snapshot};

    #[test]
    fn the_version_depends_on_the_content_alone() {
        let one = snapshot([cluster("a", 1), filter("f", 1)]);
        assert_eq!(
            one.version(),
            snapshot([filter("f", 1), cluster("a", 1)]).version()
        );
        assert_ne!(
            one.version(),
            snapshot([filter("f", 2), cluster("a", 1)]).version()
        );
        assert_ne!(one.version(), snapshot([cluster("a", 1)]).version());
        assert_eq!(Snapshot::new(Vec::new()).len(), 0);
    }
}
