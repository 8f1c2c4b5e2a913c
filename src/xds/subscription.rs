//! State of one resource type in a [`Session`](super::session::Session): what the client subscribes to, what it has,
//! and what is in flight. It does not depend on other types; the session decides the order among them.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Sent,
};
use envoy_types::pb::google::rpc::Status;

use super::event::{Event, Nonces, Outcome, Output, Progress, ProtocolError, Rejection};
use super::resource::ResourceType;
use super::snapshot::Snapshot;

/// Name of the subscription to all resources of a type.
const WILDCARD: &str = "*";
/// Most names of one type on one stream; a firewall has some tens.
const MAX_NAMES: usize = 4096;
/// Most responses of one type without an answer. There is more than one for a resource only if the client subscribes
/// again while a response is in flight.
const MAX_UNACKNOWLEDGED: usize = 2 * MAX_NAMES;

/// The client's copy of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Copy {
    /// The client subscribed and waits for a response.
    Unknown,
    /// The client subscribed, the resource does not exist, and no response was sent on purpose.
    Missing,
    /// The client has acknowledged that the resource does not exist.
    Absent,
    /// The client has this version.
    Version(String),
}

impl From<Option<String>> for Copy {
    fn from(version: Option<String>) -> Self {
        version.map_or(Self::Absent, Self::Version)
    }
}

/// A version, or a removal (`None`), that was sent and not answered yet.
#[derive(Debug)]
struct InFlight {
    nonce: u64,
    version: Option<String>,
}

/// A version, or a removal (`None`), that the client refused.
#[derive(Debug)]
struct Refused {
    version: Option<String>,
    message: String,
}

#[derive(Debug)]
struct Entry {
    copy: Copy,
    in_flight: Option<InFlight>,
    refused: Option<Refused>,
    /// Whether it must be sent alone, because the client refused a response with several resources. The next answers
    /// show which one it refuses.
    alone: bool,
}

impl Entry {
    fn new(copy: Copy) -> Self {
        Self {
            copy,
            in_flight: None,
            refused: None,
            alone: false,
        }
    }

    /// Returns the next step towards the version `wanted` (`None`: removed).
    fn step(&self, wanted: Option<&str>) -> Step {
        let was_refused = self
            .refused
            .as_ref()
            .is_some_and(|refused| refused.version.as_deref() == wanted);
        if self.in_flight.is_some() || was_refused {
            return Step::Nothing;
        }
        match (&self.copy, wanted) {
            (Copy::Version(has), Some(wanted)) if has == wanted => Step::Nothing,
            (Copy::Absent | Copy::Missing, None) => Step::Nothing,
            (_, Some(_)) => Step::Send,
            (Copy::Unknown, None) => Step::ReportMissing,
            (Copy::Version(_), None) => Step::Remove,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Send,
    ReportMissing,
    Remove,
}

/// The state of one type.
#[derive(Debug)]
pub(super) struct Subscription {
    kind: ResourceType,
    /// Whether the client has sent a request of this type.
    started: bool,
    wildcard: bool,
    /// Names that are subscribed to explicitly.
    names: BTreeSet<String>,
    /// The client's copies: of every subscribed name, and with a wildcard of every name that was sent.
    entries: BTreeMap<String, Entry>,
    /// Names in each response that is not answered yet, by nonce.
    unacknowledged: BTreeMap<u64, Vec<String>>,
    /// Whether the first request of a wildcard is not answered yet. It gets a response even without resources, because
    /// Envoy's start waits for it.
    owes_first_response: bool,
}

impl Subscription {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            started: false,
            wildcard: false,
            names: BTreeSet::new(),
            entries: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            owes_first_response: false,
        }
    }

    pub(super) fn kind(&self) -> ResourceType {
        self.kind
    }

    /// Handles a request: first the answer in it, then the change of the subscription.
    pub(super) fn request(
        &mut self,
        request: &DeltaDiscoveryRequest,
        events: &mut Vec<Event>,
    ) -> Result<(), ProtocolError> {
        if let Ok(nonce) = request.response_nonce.parse() {
            self.answer(nonce, request.error_detail.as_ref(), events);
        }
        for name in &request.resource_names_unsubscribe {
            self.unsubscribe(name);
        }
        let is_first = !std::mem::replace(&mut self.started, true);
        if is_first
            && request.resource_names_subscribe.is_empty()
            && request.resource_names_unsubscribe.is_empty()
        {
            // The form of the wildcard before it had a name; Envoy still starts with it.
            self.subscribe(WILDCARD);
        }
        for name in &request.resource_names_subscribe {
            self.subscribe(name);
        }
        if is_first {
            self.reconnect(&request.initial_resource_versions);
        }
        self.check_limits()
    }

    /// A subscription, new or repeated, always gets a response: the client may have dropped its copy.
    fn subscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.wildcard = true;
            self.owes_first_response = true;
            for entry in self.entries.values_mut() {
                *entry = Entry::new(Copy::Unknown);
            }
        } else {
            self.names.insert(name.to_owned());
            self.entries
                .insert(name.to_owned(), Entry::new(Copy::Unknown));
        }
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.wildcard = false;
            self.owes_first_response = false;
            self.entries.retain(|name, _| self.names.contains(name));
        } else if self.names.remove(name) {
            if self.wildcard {
                // The client does not know whether the wildcard still covers the name, so it needs a response.
                self.entries
                    .insert(name.to_owned(), Entry::new(Copy::Unknown));
            } else {
                self.entries.remove(name);
            }
        }
    }

    /// Records the versions that the client kept when its connection was lost.
    fn reconnect<'a>(&mut self, versions: impl IntoIterator<Item = (&'a String, &'a String)>) {
        if self.kind == ResourceType::Endpoint {
            // A warming cluster waits for its endpoints to be sent, even if Envoy already has them (envoy issue 22418).
            return;
        }
        for (name, version) in versions {
            if self.wildcard || self.names.contains(name) {
                self.owes_first_response = false;
                self.entries
                    .insert(name.clone(), Entry::new(Copy::Version(version.clone())));
            }
        }
    }

    fn check_limits(&self) -> Result<(), ProtocolError> {
        let type_url = self.kind.type_url();
        if self.entries.len() > MAX_NAMES {
            return Err(ProtocolError::TooManyNames {
                type_url,
                limit: MAX_NAMES,
            });
        }
        if self.unacknowledged.len() > MAX_UNACKNOWLEDGED {
            return Err(ProtocolError::TooManyUnacknowledged {
                type_url,
                limit: MAX_UNACKNOWLEDGED,
            });
        }
        Ok(())
    }

    /// Handles an ACK or a NACK. It ignores an unknown nonce, and names that were unsubscribed or subscribed again in
    /// the meantime.
    fn answer(&mut self, nonce: u64, error: Option<&Status>, events: &mut Vec<Event>) {
        let Some(names) = self.unacknowledged.remove(&nonce) else {
            return;
        };
        let is_alone = names.len() == 1;
        for name in names {
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            let Some(sent) = entry.in_flight.take_if(|sent| sent.nonce == nonce) else {
                continue;
            };
            let outcome = match error {
                None => {
                    *entry = Entry::new(Copy::from(sent.version.clone()));
                    Outcome::Acknowledged
                }
                Some(error) if is_alone => {
                    let message = error.message.clone();
                    entry.refused = Some(Refused {
                        version: sent.version.clone(),
                        message: message.clone(),
                    });
                    Outcome::Rejected { message }
                }
                Some(_) => {
                    entry.alone = true;
                    continue;
                }
            };
            events.push(Event::Answered {
                kind: self.kind,
                name,
                version: sent.version,
                outcome,
            });
        }
    }

    /// With a wildcard, takes the names from the snapshot.
    pub(super) fn adopt(&mut self, snapshot: &Snapshot) {
        if !self.wildcard {
            return;
        }
        for resource in snapshot.of(self.kind) {
            if !self.entries.contains_key(&resource.name) {
                self.entries
                    .insert(resource.name.clone(), Entry::new(Copy::Absent));
            }
        }
        self.entries.retain(|name, entry| {
            let is_unused = entry.copy == Copy::Absent && entry.in_flight.is_none();
            !is_unused || self.names.contains(name) || snapshot.get(self.kind, name).is_some()
        });
    }

    /// Names of resources that the client has in another version and that are about to be sent.
    pub(super) fn changed(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut names = self.names_with(snapshot, Step::Send);
        names.retain(|(name, _)| {
            let entry = self.entries.get(name);
            entry.is_some_and(|entry| matches!(entry.copy, Copy::Version(_)))
        });
        names.into_iter().map(|(name, _)| name).collect()
    }

    /// Makes the subscribed ones of these resources be sent again, although the client has them.
    pub(super) fn send_again(&mut self, names: &[String]) {
        for name in names {
            if let Some(entry) = self.entries.get_mut(name) {
                *entry = Entry::new(Copy::Unknown);
            }
        }
    }

    /// Sends new and changed resources, and reports names that do not exist.
    pub(super) fn send_additions(
        &mut self,
        snapshot: &Snapshot,
        nonces: &mut Nonces,
        output: &mut Output,
    ) {
        let mut added = self.names_with(snapshot, Step::Send);
        for (_, is_alone) in &mut added {
            *is_alone |= !self.kind.is_batched();
        }
        self.send_grouped(added, snapshot, nonces, output);
        self.respond_to_missing(snapshot, nonces, output);
        if std::mem::take(&mut self.owes_first_response) && self.unacknowledged.is_empty() {
            self.send(Vec::new(), snapshot, nonces, output);
        }
    }

    /// In the protocol, the response for a name that does not exist is its removal. With such a response, Envoy 1.40
    /// stops waiting for the first configuration of a filter or route, but the listener never opens. Without a
    /// response, it continues with the default configuration after `initial_fetch_timeout`.
    fn respond_to_missing(
        &mut self,
        snapshot: &Snapshot,
        nonces: &mut Nonces,
        output: &mut Output,
    ) {
        let missing = self.names_with(snapshot, Step::ReportMissing);
        for (name, _) in &missing {
            output.events.push(Event::Missing {
                kind: self.kind,
                name: name.clone(),
            });
        }
        if !self.kind.is_waited_for() {
            self.send_grouped(missing, snapshot, nonces, output);
            return;
        }
        for (name, _) in missing {
            self.entries.insert(name, Entry::new(Copy::Missing));
        }
    }

    /// Sends removals of resources that the snapshot no longer contains.
    pub(super) fn send_removals(
        &mut self,
        snapshot: &Snapshot,
        nonces: &mut Nonces,
        output: &mut Output,
    ) {
        let removed = self.names_with(snapshot, Step::Remove);
        self.send_grouped(removed, snapshot, nonces, output);
    }

    /// Sends names that must be alone in responses of their own, and the others in one response.
    fn send_grouped(
        &mut self,
        names: Vec<(String, bool)>,
        snapshot: &Snapshot,
        nonces: &mut Nonces,
        output: &mut Output,
    ) {
        let (alone, together): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|(_, is_alone)| *is_alone);
        for (name, _) in alone {
            self.send(vec![name], snapshot, nonces, output);
        }
        if !together.is_empty() {
            self.send(
                together.into_iter().map(|(name, _)| name).collect(),
                snapshot,
                nonces,
                output,
            );
        }
    }

    /// Names whose next step is this one, and whether each must be sent alone.
    fn names_with(&self, snapshot: &Snapshot, step: Step) -> Vec<(String, bool)> {
        self.entries
            .iter()
            .filter(|(name, entry)| entry.step(self.version_in(snapshot, name)) == step)
            .map(|(name, entry)| (name.clone(), entry.alone))
            .collect()
    }

    fn version_in<'a>(&self, snapshot: &'a Snapshot, name: &str) -> Option<&'a str> {
        snapshot
            .get(self.kind, name)
            .map(|resource| resource.version.as_str())
    }

    fn send(
        &mut self,
        names: Vec<String>,
        snapshot: &Snapshot,
        nonces: &mut Nonces,
        output: &mut Output,
    ) {
        let (nonce, attempt) = nonces.next();
        let mut response = DeltaDiscoveryResponse {
            system_version_info: snapshot.version().to_owned(),
            type_url: self.kind.type_url().to_owned(),
            nonce: nonce.to_string(),
            ..DeltaDiscoveryResponse::default()
        };
        for name in &names {
            let resource = snapshot.get(self.kind, name);
            if let Some(resource) = resource {
                response.resources.push(Sent {
                    name: resource.name.clone(),
                    version: resource.version.clone(),
                    resource: Some(resource.attempt(attempt)),
                    ..Sent::default()
                });
            } else {
                response.removed_resources.push(name.clone());
            }
            if let Some(entry) = self.entries.get_mut(name) {
                entry.in_flight = Some(InFlight {
                    nonce,
                    version: resource.map(|resource| resource.version.clone()),
                });
            }
        }
        self.unacknowledged.insert(nonce, names);
        output.responses.push(response);
    }

    /// Whether every response is answered.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.entries.values().all(|entry| entry.in_flight.is_none())
    }

    /// Whether the client refuses a resource of this snapshot, or a removal.
    pub(super) fn is_rejected(&self, snapshot: &Snapshot) -> bool {
        self.rejections(snapshot).next().is_some()
    }

    fn rejections<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = Rejection> + 'a {
        self.entries.iter().filter_map(|(name, entry)| {
            let refused = entry.refused.as_ref()?;
            (refused.version.as_deref() == self.version_in(snapshot, name)).then(|| Rejection {
                kind: self.kind,
                name: name.clone(),
                version: refused.version.clone(),
                message: refused.message.clone(),
            })
        })
    }

    /// Adds the differences of this type from the snapshot: refused and unacknowledged resources, resources that the
    /// client has not requested yet (for example a filter of a listener in flight), resources to be removed, and
    /// requested ones that do not exist.
    pub(super) fn add_progress(&self, snapshot: &Snapshot, progress: &mut Progress) {
        progress.rejections.extend(self.rejections(snapshot));
        let refused = |name: &str| {
            progress
                .rejections
                .iter()
                .any(|r| r.kind == self.kind && r.name == name)
        };
        let outdated = snapshot.of(self.kind).filter(|resource| {
            self.entries.get(&resource.name).is_none_or(|entry| {
                entry.copy != Copy::Version(resource.version.clone()) || entry.in_flight.is_some()
            })
        });
        let superfluous = self.entries.iter().filter(|(name, entry)| {
            matches!(entry.copy, Copy::Version(_) | Copy::Missing)
                && snapshot.get(self.kind, name).is_none()
        });
        let names = outdated
            .map(|resource| &resource.name)
            .chain(superfluous.map(|(name, _)| name));
        progress.pending.extend(
            names
                .filter(|name| !refused(name))
                .map(|name| (self.kind, name.clone())),
        );
    }
}
