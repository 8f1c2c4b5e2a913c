//! One type's half of a [`Session`](super::session::Session): what the client wants of that type, what it has, and
//! what is on its way.
//!
//! Knows nothing of other types; the order among them is the session's.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Sent,
};
use envoy_types::pb::google::rpc::Status;

use super::resource::ResourceType;
use super::session::{Event, Nonces, Outcome, Output, Progress, ProtocolError, Rejection};
use super::snapshot::Snapshot;

/// The name that stands for all resources of a type.
const WILDCARD: &str = "*";
/// Names of one type on one stream; a firewall has some tens.
const MAX_NAMES: usize = 4096;
/// Responses of one type without an answer. More than one for each resource come about only when the client subscribes
/// anew while an answer is on its way.
const MAX_UNACKNOWLEDGED: usize = 2 * MAX_NAMES;

/// What the client has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Copy {
    /// It asked, and waits for an answer.
    Unknown,
    /// It asked, there is nothing to give, and it is better not told so.
    Missing,
    /// Nothing, and it knows that there is nothing.
    Absent,
    /// This version.
    Version(String),
}

impl From<Option<String>> for Copy {
    fn from(version: Option<String>) -> Self {
        version.map_or(Self::Absent, Self::Version)
    }
}

/// A version, or a removal (`None`), that was sent and not answered yet.
#[derive(Debug)]
struct OnItsWay {
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
    on_its_way: Option<OnItsWay>,
    refused: Option<Refused>,
    /// It was in a response that was refused as a whole: to be sent by itself, so that it is known which one is meant.
    alone: bool,
}

impl Entry {
    fn new(copy: Copy) -> Self {
        Self {
            copy,
            on_its_way: None,
            refused: None,
            alone: false,
        }
    }

    /// What there is to do, so that the client has `wanted` (`None`: nothing).
    fn step(&self, wanted: Option<&str>) -> Step {
        let was_refused = self
            .refused
            .as_ref()
            .is_some_and(|refused| refused.version.as_deref() == wanted);
        if self.on_its_way.is_some() || was_refused {
            return Step::Nothing;
        }
        match (&self.copy, wanted) {
            (Copy::Version(has), Some(wanted)) if has == wanted => Step::Nothing,
            (Copy::Absent | Copy::Missing, None) => Step::Nothing,
            (_, Some(_)) => Step::Send,
            (Copy::Unknown, None) => Step::SayMissing,
            (Copy::Version(_), None) => Step::Remove,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Send,
    SayMissing,
    Remove,
}

/// The state of one type.
#[derive(Debug)]
pub(super) struct Subscription {
    kind: ResourceType,
    /// Whether the client has mentioned this type.
    started: bool,
    wildcard: bool,
    /// Subscribed by name.
    names: BTreeSet<String>,
    /// What the client has or waits for: every name that is subscribed, and under a wildcard every one that was sent.
    entries: BTreeMap<String, Entry>,
    /// The names in each response that was not answered yet, by nonce.
    unacknowledged: BTreeMap<u64, Vec<String>>,
    /// A wildcard's first request gets an answer even when there is nothing: Envoy's start waits for it.
    owes_first_answer: bool,
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
            owes_first_answer: false,
        }
    }

    pub(super) fn kind(&self) -> ResourceType {
        self.kind
    }

    /// Takes in a request: first the answer in it, then the change of the subscription.
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
            // The wildcard as it was before it had a name; Envoy still starts this way.
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

    /// A subscription, new or repeated, is always answered: the client may have forgotten what it had.
    fn subscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.wildcard = true;
            self.owes_first_answer = true;
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
            self.owes_first_answer = false;
            self.entries.retain(|name, _| self.names.contains(name));
        } else if self.names.remove(name) {
            if self.wildcard {
                // The client cannot know whether the wildcard still covers it and has to be told.
                self.entries
                    .insert(name.to_owned(), Entry::new(Copy::Unknown));
            } else {
                self.entries.remove(name);
            }
        }
    }

    /// The client kept these over a lost connection.
    fn reconnect<'a>(&mut self, versions: impl IntoIterator<Item = (&'a String, &'a String)>) {
        if self.kind == ResourceType::Endpoint {
            // A cluster that is warming waits for endpoints to be sent, also for those that it has (envoy issue 22418).
            return;
        }
        for (name, version) in versions {
            if self.wildcard || self.names.contains(name) {
                self.owes_first_answer = false;
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

    /// An ACK or a NACK. An unknown nonce says nothing, and a name that was unsubscribed or subscribed anew in the
    /// meantime is no longer meant.
    fn answer(&mut self, nonce: u64, error: Option<&Status>, events: &mut Vec<Event>) {
        let Some(names) = self.unacknowledged.remove(&nonce) else {
            return;
        };
        let is_alone = names.len() == 1;
        for name in names {
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            let Some(sent) = entry.on_its_way.take_if(|sent| sent.nonce == nonce) else {
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

    /// Under a wildcard the snapshot says which names there are.
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
            let is_gone = entry.copy == Copy::Absent && entry.on_its_way.is_none();
            !is_gone || self.names.contains(name) || snapshot.get(self.kind, name).is_some()
        });
    }

    /// Sends what is new or changed, and says what does not exist.
    pub(super) fn send_additions(
        &mut self,
        snapshot: &Snapshot,
        nonces: &mut Nonces,
        output: &mut Output,
    ) {
        let mut together = Vec::new();
        for (name, is_alone) in self.names_with(snapshot, Step::Send) {
            if self.kind.is_batched() && !is_alone {
                together.push(name);
            } else {
                self.send(vec![name], snapshot, nonces, output);
            }
        }
        if !together.is_empty() {
            self.send(together, snapshot, nonces, output);
        }
        self.answer_missing(snapshot, nonces, output);
        if std::mem::take(&mut self.owes_first_answer) && self.unacknowledged.is_empty() {
            self.send(Vec::new(), snapshot, nonces, output);
        }
    }

    /// The protocol answers a name that does not exist with its removal. Envoy 1.40 takes that as the end of its
    /// patience for a filter's or a listener's first configuration without being ready to go on, and the listener
    /// never opens; without an answer it goes on with the default configuration after `initial_fetch_timeout`.
    fn answer_missing(&mut self, snapshot: &Snapshot, nonces: &mut Nonces, output: &mut Output) {
        let missing = self.names_with(snapshot, Step::SayMissing);
        for (name, _) in &missing {
            output.events.push(Event::Missing {
                kind: self.kind,
                name: name.clone(),
            });
        }
        if !self.kind.is_waited_for() {
            self.send_each_way(missing, snapshot, nonces, output);
            return;
        }
        for (name, _) in missing {
            self.entries.insert(name, Entry::new(Copy::Missing));
        }
    }

    /// Takes away what the snapshot no longer has.
    pub(super) fn send_removals(
        &mut self,
        snapshot: &Snapshot,
        nonces: &mut Nonces,
        output: &mut Output,
    ) {
        let removed = self.names_with(snapshot, Step::Remove);
        self.send_each_way(removed, snapshot, nonces, output);
    }

    /// Those that have to go alone by themselves, the others in one response.
    fn send_each_way(
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

    /// The names that need this step, and whether each has to go alone.
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
        let nonce = nonces.next();
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
                    resource: Some(resource.body.clone()),
                    ..Sent::default()
                });
            } else {
                response.removed_resources.push(name.clone());
            }
            if let Some(entry) = self.entries.get_mut(name) {
                entry.on_its_way = Some(OnItsWay {
                    nonce,
                    version: resource.map(|resource| resource.version.clone()),
                });
            }
        }
        self.unacknowledged.insert(nonce, names);
        output.responses.push(response);
    }

    /// Whether nothing that was sent waits for an answer.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.entries
            .values()
            .all(|entry| entry.on_its_way.is_none())
    }

    /// Whether the client refuses something that this snapshot wants.
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

    /// Adds what this type lacks of the snapshot: what was refused, what is not acknowledged, what the client has not
    /// asked for yet (a filter that a listener on its way will ask for), what it still has and should not, and what
    /// it waits for in vain.
    pub(super) fn add_progress(&self, snapshot: &Snapshot, progress: &mut Progress) {
        progress.rejections.extend(self.rejections(snapshot));
        let refused = |name: &str| {
            progress
                .rejections
                .iter()
                .any(|r| r.kind == self.kind && r.name == name)
        };
        let lacks = snapshot.of(self.kind).filter(|resource| {
            self.entries.get(&resource.name).is_none_or(|entry| {
                entry.copy != Copy::Version(resource.version.clone()) || entry.on_its_way.is_some()
            })
        });
        let disagrees = self.entries.iter().filter(|(name, entry)| {
            matches!(entry.copy, Copy::Version(_) | Copy::Missing)
                && snapshot.get(self.kind, name).is_none()
        });
        let names = lacks
            .map(|resource| &resource.name)
            .chain(disagrees.map(|(name, _)| name));
        progress.pending.extend(
            names
                .filter(|name| !refused(name))
                .map(|name| (self.kind, name.clone())),
        );
    }
}
