//! The delta xDS protocol of one stream, as a state machine: requests and snapshots in, responses and events out.
//!
//! It has no sockets, clocks or tasks: the caller moves the messages. The rules are those of Envoy's `xds_protocol`
//! document, section "Incremental xDS", and of Envoy's client where the document is not specific.
//!
//! - A resource has at most one unacknowledged version in flight; the next one is the newest at that time: a slow
//!   proxy receives no queue of outdated versions, and an idle one receives a change at once.
//! - Listeners and routes wait for the acknowledgement of clusters: Envoy acknowledges clusters when they are ready
//!   to be used.
//! - The endpoints of a changed cluster are sent again: Envoy does not use the changed cluster before it has received
//!   them, or waited 15 s for them, although it has them already.
//! - A removal waits until nothing is unacknowledged or refused, because a resource in force may still refer to the
//!   removed one. Only the removal of a listener is sent at once.
//! - A refused version is not sent again until the content changes or the proxy subscribes again: the answer would be
//!   the same.
//! - After Envoy has refused a response with several resources, each is sent alone, to find the one that Envoy
//!   refuses.
//! - A request for a filter or route that does not exist is reported, and gets no response: with one, Envoy would
//!   never open the listener that refers to it.
//! - Without a snapshot, nothing is sent: an operator that has just started must not remove anything.

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::event::{Event, Nonces, Output, Progress, ProtocolError};
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
    /// A session without any messages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles a request: a subscription, its end, an ACK or a NACK, or several of these in one.
    ///
    /// # Errors
    /// The client exceeds a limit; the stream must end.
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

    /// Handles a new snapshot of the node.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) -> Output {
        let mut output = Output::default();
        self.snapshot = Some(snapshot);
        self.send_what_differs(&mut output);
        output
    }

    /// Progress of the client with the newest snapshot.
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
        let mut changed_clusters = Vec::new();
        for subscription in &mut self.subscriptions {
            let kind = subscription.kind();
            let waits = matches!(
                kind,
                ResourceType::Listener | ResourceType::RouteConfiguration
            ) && !clusters_are_ready;
            subscription.adopt(&snapshot);
            match kind {
                ResourceType::Cluster => changed_clusters = subscription.changed(&snapshot),
                ResourceType::Endpoint => subscription.send_again(&changed_clusters),
                _ => {}
            }
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
        let is_settled = |subscription: &Subscription| {
            subscription.is_acknowledged() && !subscription.is_rejected(&snapshot)
        };
        if self.subscriptions.iter().all(is_settled) {
            for subscription in self.subscriptions.iter_mut().rev() {
                subscription.send_removals(&snapshot, &mut self.nonces, output);
            }
        }
    }
}

#[cfg(test)]
mod tests;
