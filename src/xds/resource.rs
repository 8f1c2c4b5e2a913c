//! One xDS resource: type, name, version and encoded content. Does not look inside the content.

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

/// Number of hexadecimal digits of an attempt.
const DIGITS: usize = 16;

/// The types of resources that are served. They are sorted by the make-before-break rule of the xDS protocol: a
/// resource is sent before the resources that refer to it. Removals are sent in reverse order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceType {
    /// CDS: the upstream to which requests are sent.
    Cluster,
    /// EDS: the addresses of a cluster.
    Endpoint,
    /// ECDS: the configuration of one filter; a changed rule changes these first.
    ExtensionConfig,
    /// LDS: a port that accepts requests.
    Listener,
    /// RDS: the routes, which select the cluster of each request.
    RouteConfiguration,
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ResourceType {
    /// Every type, in sending order. Changed filters come before listeners, whose updates take Envoy longer.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::Endpoint,
        Self::ExtensionConfig,
        Self::Listener,
        Self::RouteConfiguration,
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

    /// Type URL in requests, responses and bodies.
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

    /// Type of a type URL; `None` for a type that is not served.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// Whether several changed resources share one response.
    ///
    /// Envoy ends its initialisation of clusters and of listeners with the first response of that type, so the first
    /// one must be complete. The other types are subscribed to by name and sent one by one: Envoy stops at the first
    /// resource of a response that it refuses, and would not apply the valid ones after it.
    pub(crate) const fn is_batched(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// Whether Envoy delays a listener until its first resource of this type has arrived or timed out.
    pub(crate) const fn is_waited_for(self) -> bool {
        matches!(self, Self::RouteConfiguration | Self::ExtensionConfig)
    }
}

/// A message that Envoy subscribes to by type and name.
pub trait Discoverable: Message + Name {
    /// Its type in discovery.
    const TYPE: ResourceType;
    /// Its name, from the field that holds it.
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
    /// Type of the resource.
    pub kind: ResourceType,
    /// Name, unique among the resources of its type.
    pub name: String,
    /// Hash of the content: resources with equal versions are equal, also across processes and restarts.
    pub version: String,
    /// The encoded message with its type URL.
    pub body: Any,
    /// Where the digits of the attempt begin in the body.
    pub(super) digits: Option<usize>,
}

impl Resource {
    /// Encodes a message; its version is a hash of the encoding.
    ///
    /// A map field with more than one entry (`google.protobuf.Struct`, `typed_per_filter_config`, …) has no canonical
    /// encoding: the order of its entries varies, and the unchanged resource would be sent again. Use
    /// [`Resource::with_version`] for such messages, with a hash of their inputs.
    pub fn new<M: Discoverable>(message: &M) -> Self {
        let encoded = message.encode_to_vec();
        let version = content_version(&[&encoded]);
        Self::assemble(message, encoded, version)
    }

    /// Encodes a message; its version is a hash of `content`, which must determine the message.
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
            digits: None,
        }
    }

    /// Marks the first place of a text in the message that has no effect, such as the name of an input, and ends with
    /// 16 zeros. Each time that the resource is sent, a number that was never sent before is in their place; the
    /// version stays.
    ///
    /// Envoy skips an ECDS resource that equals the last one, also if it refused that one: it acknowledges it, and
    /// reports its version after a reconnect, although the earlier resource stays in force. With the number, no two are
    /// equal, so Envoy evaluates each one, and an acknowledged version is in force.
    #[must_use]
    pub fn with_attempt(mut self, placeholder: &str) -> Self {
        let mut places = self.body.value.windows(placeholder.len().max(DIGITS));
        let place = places.position(|text| text == placeholder.as_bytes());
        self.digits = place.map(|start| start + placeholder.len() - DIGITS);
        self
    }

    /// The body with a number in place of the digits that are marked.
    pub(super) fn attempt(&self, number: u64) -> Any {
        let mut body = self.body.clone();
        let digits = format!("{number:0DIGITS$x}");
        let place = self
            .digits
            .and_then(|start| body.value.get_mut(start..start + DIGITS));
        if let Some(place) = place {
            place.copy_from_slice(digits.as_bytes());
        }
        body
    }
}

/// Returns the first 128 bits of a SHA-256 in hex. A collision would leave an old rule in force, so the hash must be
/// collision-resistant. Each part is hashed with its length, so that parts cannot run into each other.
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
    fn the_order_of_types_is_make_before_break() {
        let mut sorted = ResourceType::ALL;
        sorted.sort_unstable();
        assert_eq!(sorted, ResourceType::ALL);
    }

    #[test]
    fn a_version_depends_on_the_content() {
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
    fn a_given_content_determines_the_version() {
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
    fn an_attempt_changes_the_body_and_not_the_version() {
        const ZEROS: &str = "0000000000000000";
        let cluster = |number: &str| Cluster {
            name: format!("try={number}"),
            alt_stat_name: "after".to_owned(),
            ..Cluster::default()
        };
        let plain = Resource::new(&cluster(ZEROS));
        let resource = plain.clone().with_attempt("try=0000000000000000");
        assert_eq!(resource.version, plain.version);
        for (number, digits) in [(0x2a, "000000000000002a"), (u64::MAX, "ffffffffffffffff")] {
            let body = resource.attempt(number);
            assert_eq!(Cluster::decode(body.value.as_slice()), Ok(cluster(digits)));
        }
        assert_eq!(plain.attempt(7), plain.body);
        let without = plain.with_attempt("other=0000000000000000");
        assert_eq!(without.attempt(7), without.body);
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        assert_ne!(
            content_version(&[b"ab", b"c"]),
            content_version(&[b"a", b"bc"])
        );
    }
}
