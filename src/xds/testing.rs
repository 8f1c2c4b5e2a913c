//! Small resources for the tests of this module: a name, and a number as the version of the content.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;

use super::resource::{Discoverable, Resource};
use super::snapshot::Snapshot;

fn made<M: Discoverable>(message: &M, content: u32) -> Resource {
    Resource {
        version: content.to_string(),
        ..Resource::new(message)
    }
}

pub(crate) fn cluster(name: &str, content: u32) -> Resource {
    made(
        &Cluster {
            name: name.to_owned(),
            ..Cluster::default()
        },
        content,
    )
}

pub(crate) fn endpoint(name: &str, content: u32) -> Resource {
    made(
        &ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            ..ClusterLoadAssignment::default()
        },
        content,
    )
}

pub(crate) fn listener(name: &str, content: u32) -> Resource {
    made(
        &Listener {
            name: name.to_owned(),
            ..Listener::default()
        },
        content,
    )
}

pub(crate) fn route(name: &str, content: u32) -> Resource {
    made(
        &RouteConfiguration {
            name: name.to_owned(),
            ..RouteConfiguration::default()
        },
        content,
    )
}

pub(crate) fn filter(name: &str, content: u32) -> Resource {
    made(
        &TypedExtensionConfig {
            name: name.to_owned(),
            typed_config: None,
        },
        content,
    )
}

pub(crate) fn snapshot<const N: usize>(resources: [Resource; N]) -> Snapshot {
    Snapshot::new(resources.into())
}
