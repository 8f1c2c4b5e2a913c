//! Results of a session: responses to send, events about the proxy, and its progress with a snapshot.

use std::hash::{BuildHasher, RandomState};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use serde::{Deserialize, Serialize};

use super::resource::ResourceType;

/// Result of a step, both parts in order.
#[derive(Debug, Default)]
#[must_use]
pub struct Output {
    /// Responses to send.
    pub responses: Vec<DeltaDiscoveryResponse>,
    /// Events about the proxy.
    pub events: Vec<Event>,
}

/// An event about the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It acknowledged or refused a resource.
    Answered {
        /// The resource's type.
        kind: ResourceType,
        /// The resource's name.
        name: String,
        /// The version that was sent; `None` for its removal.
        version: Option<String>,
        /// The answer.
        outcome: Outcome,
    },
    /// It subscribes to a resource that does not exist.
    Missing {
        /// The resource's type.
        kind: ResourceType,
        /// The resource's name.
        name: String,
    },
    /// It requests a type that is not served, and gets no response.
    UnservedType {
        /// The type's URL.
        type_url: String,
    },
}

/// A proxy's answer to one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The version is in force.
    Acknowledged,
    /// The version is refused; the earlier one stays in force.
    Rejected {
        /// The proxy's error message, unchanged.
        message: String,
    },
}

/// A resource that a proxy refuses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rejection {
    /// The resource's type.
    pub kind: ResourceType,
    /// The resource's name.
    pub name: String,
    /// The refused version; `None` for its removal.
    pub version: Option<String>,
    /// The proxy's error message, unchanged.
    pub message: String,
}

/// Progress of a proxy with a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Version of the snapshot; `None` if there is none yet.
    pub version: Option<String>,
    /// Resources that differ from the snapshot: not requested, not acknowledged, or requested although they do not
    /// exist.
    pub pending: Vec<(ResourceType, String)>,
    /// Refused resources.
    pub rejections: Vec<Rejection>,
}

impl Progress {
    /// Whether every resource of this snapshot version is in force.
    pub fn is_programmed(&self, version: &str) -> bool {
        self.version.as_deref() == Some(version)
            && self.pending.is_empty()
            && self.rejections.is_empty()
    }
}

/// A client violates the protocol or its limits; the stream must end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// It subscribes to more names of one type than any firewall has resources.
    #[error("{type_url}: more than {limit} names on one stream; subscribe to fewer")]
    TooManyNames {
        /// Type URL of the resources.
        type_url: &'static str,
        /// The limit, a number of names or responses.
        limit: usize,
    },
    /// It keeps requesting without answering responses.
    #[error(
        "{type_url}: more than {limit} responses without an ACK or NACK; answer them before requesting more"
    )]
    TooManyUnacknowledged {
        /// Type URL of the resources.
        type_url: &'static str,
        /// The limit, a number of names or responses.
        limit: usize,
    },
}

/// Counter that gives each response of a stream its nonce, and the number of the
/// [attempt](super::Resource::with_attempt).
#[derive(Debug)]
pub(super) struct Nonces {
    last: u64,
    /// A random number, so that another stream, process or replica has other attempts.
    stream: u64,
}

impl Default for Nonces {
    fn default() -> Self {
        Self {
            last: 0,
            // The keys of the standard library's hash maps are random, and different for every state.
            stream: RandomState::new().hash_one(()),
        }
    }
}

impl Nonces {
    /// The next nonce and attempt.
    pub(super) fn next(&mut self) -> (u64, u64) {
        self.last += 1;
        (self.last, self.stream.wrapping_add(self.last))
    }
}
