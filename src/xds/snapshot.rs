//! All resources of one firewall at one moment: immutable, cheap to share, comparable by version.
//!
//! A snapshot contains only resources that its listeners refer to: one that no proxy asks for would count as not yet in
//! force.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::resource::{Resource, ResourceType, content_version};

/// The resources of one firewall. An empty snapshot removes everything from proxies; no snapshot changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    version: String,
    cold_start: bool,
    resources: BTreeMap<ResourceType, BTreeMap<String, Arc<Resource>>>,
}

impl Snapshot {
    /// A snapshot of these resources. If two have the same type and name, the later one counts; the compiler gives
    /// every resource of a type a unique name.
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

    /// Makes it a cold-start snapshot: only proxies without configuration receive it. A proxy that has configuration,
    /// for example from an earlier server, keeps that.
    #[must_use]
    pub fn as_cold_start(self) -> Self {
        Self {
            cold_start: true,
            ..self
        }
    }

    /// Whether only proxies without configuration receive it.
    pub fn is_cold_start(&self) -> bool {
        self.cold_start
    }

    /// Hash of the content: snapshots with equal versions are equal, also across processes.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The resource of this type and name, if there is one.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&kind)?.get(name)
    }

    /// The resources of one type, sorted by name.
    pub fn of(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources
            .get(&kind)
            .into_iter()
            .flat_map(BTreeMap::values)
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
        assert!(Snapshot::new(Vec::new()).resources.is_empty());
    }
}
