//! One xDS resource: what it is, what it is called, which content it has.
//!
//! Knows the xDS types and nothing of what is in them.

use std::fmt::{self, Write as _};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The kinds of resources that are served. Their order is the sending order of the xDS protocol's make-before-break
/// rule: what is referred to comes before what refers to it. Removals go the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceType {
    /// CDS: where requests go.
    Cluster,
    /// EDS: the addresses of a cluster.
    Endpoint,
    /// LDS: where requests come in.
    Listener,
    /// RDS: which request goes where.
    RouteConfiguration,
    /// ECDS: one filter's configuration; a rule change is a change of these.
    ExtensionConfig,
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ResourceType {
    /// Every type, in sending order.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::RouteConfiguration,
        Self::ExtensionConfig,
    ];

    /// Text of the type in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Endpoint => "Endpoint",
            Self::Listener => "Listener",
            Self::RouteConfiguration => "RouteConfiguration",
            Self::ExtensionConfig => "ExtensionConfig",
        }
    }

    /// The URL that names the type in requests, responses and bodies.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::RouteConfiguration => {
                "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
            }
            Self::ExtensionConfig => {
                "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
            }
        }
    }

    /// The type of a URL; `None` for a type that is not served.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// Whether several changed resources share one response.
    ///
    /// Envoy ends its initialisation of clusters and of listeners with the first response of that type, so the first
    /// one has to be whole. The other types are subscribed to by name and go one by one: Envoy stops at the first
    /// resource of a response that it refuses, and the good ones behind it would be lost with it.
    pub(crate) const fn is_batched(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// Whether Envoy holds a listener back until its first resource of this type has come, or was waited for in vain.
    pub(crate) const fn is_waited_for(self) -> bool {
        matches!(self, Self::RouteConfiguration | Self::ExtensionConfig)
    }
}

/// A message that Envoy discovers under a name of its own.
pub trait Discoverable: Message + Name {
    /// What it is discovered as.
    const TYPE: ResourceType;
    /// The field that is its name.
    fn resource_name(&self) -> &str;
}

macro_rules! discoverable {
    ($message:ty, $kind:ident, $field:ident) => {
        impl Discoverable for $message {
            const TYPE: ResourceType = ResourceType::$kind;
            fn resource_name(&self) -> &str {
                &self.$field
            }
        }
    };
}
discoverable!(Cluster, Cluster, name);
discoverable!(ClusterLoadAssignment, Endpoint, cluster_name);
discoverable!(Listener, Listener, name);
discoverable!(RouteConfiguration, RouteConfiguration, name);
discoverable!(TypedExtensionConfig, ExtensionConfig, name);

/// One resource, encoded once however many proxies it is sent to.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its type.
    pub kind: ResourceType,
    /// Its name, unique among the resources of its type.
    pub name: String,
    /// Stands for the content: equal versions are equal resources, also across processes and restarts.
    pub version: String,
    /// The encoded message.
    pub body: Any,
}

impl Resource {
    /// Encodes a message; its version is a hash of the encoding.
    ///
    /// A message with a map of more than one entry (`google.protobuf.Struct`, `typed_per_filter_config`, …) has no
    /// one encoding: its entries come out in a different order each time, and the resource would be sent again for
    /// nothing. Give those a version from what they were made of, with [`Resource::with_version`].
    pub fn new<M: Discoverable>(message: &M) -> Self {
        let encoded = message.encode_to_vec();
        let version = content_version(&[&encoded]);
        Self::assemble(message, encoded, version)
    }

    /// Encodes a message whose content is determined by `content`, from which its version is hashed.
    pub fn with_version<M: Discoverable>(message: &M, content: &[u8]) -> Self {
        Self::assemble(
            message,
            message.encode_to_vec(),
            content_version(&[content]),
        )
    }

    fn assemble<M: Discoverable>(message: &M, encoded: Vec<u8>, version: String) -> Self {
        let body = Any {
            type_url: M::TYPE.type_url().to_owned(),
            value: encoded,
        };
        Self {
            kind: M::TYPE,
            name: message.resource_name().to_owned(),
            version,
            body,
        }
    }
}

/// The first 128 bits of a SHA-256, in hex: a collision would leave an old rule in force, so it must not be possible
/// to make one. Parts are told apart by their lengths.
pub(crate) fn content_version(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(16)
        .fold(String::with_capacity(32), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_url_of<M: Discoverable>() -> String {
        format!("type.googleapis.com/{}", M::full_name())
    }

    #[test]
    fn type_urls_are_those_of_the_messages() {
        for (kind, url) in [
            (ResourceType::Cluster, type_url_of::<Cluster>()),
            (
                ResourceType::Endpoint,
                type_url_of::<ClusterLoadAssignment>(),
            ),
            (ResourceType::Listener, type_url_of::<Listener>()),
            (
                ResourceType::RouteConfiguration,
                type_url_of::<RouteConfiguration>(),
            ),
            (
                ResourceType::ExtensionConfig,
                type_url_of::<TypedExtensionConfig>(),
            ),
        ] {
            assert_eq!(kind.type_url(), url);
            assert_eq!(ResourceType::from_type_url(&url), Some(kind));
        }
        assert_eq!(
            ResourceType::from_type_url("type.googleapis.com/google.protobuf.Any"),
            None
        );
    }

    #[test]
    fn sending_order_is_make_before_break() {
        let mut sorted = ResourceType::ALL;
        sorted.sort_unstable();
        assert_eq!(sorted, ResourceType::ALL);
    }

    #[test]
    fn a_version_stands_for_the_content() {
        let cluster = |name: &str| Cluster {
            name: name.to_owned(),
            ..Cluster::default()
        };
        let resource = Resource::new(&cluster("vault"));
        assert_eq!(resource, Resource::new(&cluster("vault")));
        assert_ne!(resource.version, Resource::new(&cluster("other")).version);
        assert_eq!(resource.version.len(), 32);
        assert_eq!(resource.body.type_url, ResourceType::Cluster.type_url());
        assert_eq!(
            Cluster::decode(resource.body.value.as_slice()).map(|c| c.name),
            Ok("vault".to_owned())
        );
    }

    #[test]
    fn a_given_content_decides_the_version() {
        let cluster = Cluster {
            name: "vault".to_owned(),
            ..Cluster::default()
        };
        let resource = Resource::with_version(&cluster, b"one");
        assert_eq!(
            resource.version,
            Resource::with_version(&cluster, b"one").version
        );
        assert_ne!(
            resource.version,
            Resource::with_version(&cluster, b"two").version
        );
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(
            content_version(&[b"ab", b"c"]),
            content_version(&[b"a", b"bc"])
        );
    }
}
