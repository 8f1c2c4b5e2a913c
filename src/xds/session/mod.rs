//! The delta xDS protocol of one stream, as a state machine: requests and snapshots in, responses and events out.
//!
//! No sockets, no clocks, no tasks: whoever holds it moves the messages. The rules are those of Envoy's
//! `xds_protocol` document, section "Incremental xDS", and of its own client where the document leaves room.
//!
//! | rule | why |
//! |---|---|
//! | a resource has at most one unacknowledged version on its way; the next one is the newest at that time | a slow proxy is never given a queue of outdated versions, and an idle one waits for nothing |
//! | listeners and routes wait for the acknowledgement of clusters | Envoy acknowledges clusters when they are ready to be used |
//! | a removal waits until nothing is unacknowledged and nothing refused; only a listener's goes at once | what is still in force may still refer to what is to be removed |
//! | a refused version is not sent again until the content changes or the proxy asks for it anew | the answer would be the same |
//! | a refusal of several resources at once is repeated one by one | only then is it known which one Envoy means |
//! | a filter or route that does not exist is not answered, but reported | Envoy would never open the listener that asked |
//! | without a snapshot: silence | an operator that has just started must not take anything away |

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use serde::{Deserialize, Serialize};

use super::resource::ResourceType;
use super::snapshot::Snapshot;
use super::subscription::Subscription;

/// The protocol state of one stream.
#[derive(Debug)]
pub struct Session {
    snapshot: Option<Arc<Snapshot>>,
    /// One for each type, in sending order.
    subscriptions: Vec<Subscription>,
    nonces: Nonces,
}

/// What a step leads to. Both are in order.
#[derive(Debug, Default)]
#[must_use]
pub struct Output {
    /// To be sent.
    pub responses: Vec<DeltaDiscoveryResponse>,
    /// What was learned about the proxy.
    pub events: Vec<Event>,
}

/// Something learned about the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It answered to a resource.
    Answered {
        /// The resource's type.
        kind: ResourceType,
        /// The resource's name.
        name: String,
        /// The version that was sent; `None`: its removal.
        version: Option<String>,
        /// The answer.
        outcome: Outcome,
    },
    /// It wants a resource that does not exist.
    Missing {
        /// The resource's type.
        kind: ResourceType,
        /// The resource's name.
        name: String,
    },
    /// It asks for a type that is not served, and gets no answer.
    UnservedType {
        /// The type's URL.
        type_url: String,
    },
}

/// A proxy's answer to one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Acknowledged,
    /// It is not, and what was in force before still is.
    Rejected {
        /// The proxy's own words.
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
    /// The version that was refused; `None`: its removal.
    pub version: Option<String>,
    /// The proxy's own words.
    pub message: String,
}

/// How far a proxy has come with a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The version of the snapshot; `None`: there is none yet.
    pub version: Option<String>,
    /// What is not as the snapshot says: not asked for, not acknowledged, or asked for in vain.
    pub pending: Vec<(ResourceType, String)>,
    /// What was refused.
    pub rejections: Vec<Rejection>,
}

impl Progress {
    /// Whether everything in that snapshot is in force.
    pub fn is_programmed(&self, version: &str) -> bool {
        self.version.as_deref() == Some(version)
            && self.pending.is_empty()
            && self.rejections.is_empty()
    }
}

/// A client that does not keep to the protocol, or to its limits. The stream has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// More names of one type than any firewall has resources.
    #[error("{type_url}: more than {limit} names on one stream; subscribe to fewer")]
    TooManyNames {
        /// The type.
        type_url: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It asks again and again and does not read the answers.
    #[error(
        "{type_url}: more than {limit} responses without an ACK or NACK; answer them before asking for more"
    )]
    TooManyUnacknowledged {
        /// The type.
        type_url: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// Numbers the responses of a stream.
#[derive(Debug, Default)]
pub(super) struct Nonces(u64);

impl Nonces {
    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            snapshot: None,
            subscriptions: ResourceType::ALL
                .into_iter()
                .map(Subscription::new)
                .collect(),
            nonces: Nonces::default(),
        }
    }
}

impl Session {
    /// A session on which nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The client said something: a subscription, its end, an ACK or a NACK, or several of these in one.
    pub fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<Output, ProtocolError> {
        let mut output = Output::default();
        let subscription = ResourceType::from_type_url(&request.type_url).and_then(|kind| {
            self.subscriptions
                .iter_mut()
                .find(|subscription| subscription.kind() == kind)
        });
        if let Some(subscription) = subscription {
            subscription.request(request, &mut output.events)?;
            self.send_what_differs(&mut output);
        } else {
            output.events.push(Event::UnservedType {
                type_url: request.type_url.clone(),
            });
        }
        Ok(output)
    }

    /// The node's resources are now these.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) -> Output {
        let mut output = Output::default();
        self.snapshot = Some(snapshot);
        self.send_what_differs(&mut output);
        output
    }

    /// How far the client has come with the newest snapshot.
    pub fn progress(&self) -> Progress {
        let Some(snapshot) = self.snapshot.as_deref() else {
            return Progress::default();
        };
        let mut progress = Progress {
            version: Some(snapshot.version().to_owned()),
            ..Progress::default()
        };
        for subscription in &self.subscriptions {
            subscription.add_progress(snapshot, &mut progress);
        }
        progress
    }

    fn send_what_differs(&mut self, output: &mut Output) {
        let Some(snapshot) = self.snapshot.clone() else {
            return;
        };
        let mut clusters_are_ready = true;
        for subscription in &mut self.subscriptions {
            let kind = subscription.kind();
            let waits = matches!(
                kind,
                ResourceType::Listener | ResourceType::RouteConfiguration
            ) && !clusters_are_ready;
            subscription.adopt(&snapshot);
            if !waits {
                subscription.send_additions(&snapshot, &mut self.nonces, output);
            }
            if kind == ResourceType::Listener {
                subscription.send_removals(&snapshot, &mut self.nonces, output);
            }
            if kind == ResourceType::Cluster {
                clusters_are_ready = subscription.is_acknowledged();
            }
        }
        let settled = |subscription: &Subscription| {
            subscription.is_acknowledged() && !subscription.is_rejected(&snapshot)
        };
        if self.subscriptions.iter().all(settled) {
            for subscription in self.subscriptions.iter_mut().rev() {
                subscription.send_removals(&snapshot, &mut self.nonces, output);
            }
        }
    }
}

#[cfg(test)]
mod tests;
