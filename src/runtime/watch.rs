//! Watches of the API server, as a channel of plain facts. Each kind has a task of its own, so that a failure of one
//! kind does not delay another.
//!
//! An object that cannot be decoded is reported as well, and never stalls its watch.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::index::{Key, Kind, Object};
use crate::limits::Limits;
use crate::objects::{Decode, Refused, Sent, Source, Visitor, visit_kinds};
use crate::runtime::operations::Metrics;
use crate::runtime::reflector::{Change, Reflector, name_of, version_of};

/// Capacity of the channel; when it is full, the watches wait for the receiver.
const CAPACITY: usize = 1024;

/// An object as the API server has it.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) key: Key,
    pub(crate) uid: String,
    /// Resource version as a number: a later write has a greater one.
    pub(crate) version: u64,
    pub(crate) generation: i64,
    /// Status of a custom resource.
    pub(crate) status: Option<Value>,
    /// Decoded and validated form, or the reasons why there is none.
    pub(crate) read: Result<Object, Refused>,
}

/// Change that a watch saw.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The object was created or changed.
    Applied(Box<Observed>),
    /// The object was deleted.
    Deleted(Key),
    /// Every object of the kind was listed.
    Listed(Kind),
}

impl Seen {
    /// Kind of the object.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Applied(observed) => observed.key.kind,
            Self::Deleted(key) => key.kind,
            Self::Listed(kind) => *kind,
        }
    }
}

/// Change, and the time at which it was seen.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) seen: Seen,
}

/// Starts all watches. They end when the receiver is dropped.
pub(crate) fn start(
    client: &Client,
    limits: Limits,
    metrics: &Arc<Metrics>,
) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(CAPACITY);
    visit_kinds(&mut Starter {
        client,
        limits,
        events,
        metrics,
    });
    receiver
}

/// Starts the watch of every kind.
struct Starter<'a> {
    client: &'a Client,
    limits: Limits,
    events: mpsc::Sender<Event>,
    metrics: &'a Arc<Metrics>,
}

impl Visitor for Starter<'_> {
    fn visit<D: Decode>(&mut self) {
        let watch = Watch {
            kind: D::KIND,
            events: self.events.clone(),
            metrics: Arc::clone(self.metrics),
        };
        let resource = D::Source::resource::<D::Stored>();
        let api = Api::<Sent<D>>::all_with(self.client.clone(), &resource);
        let limits = self.limits;
        tokio::spawn(watch.run(api, move |sent| observe::<D>(sent, &limits)));
    }
}

fn observe<D: Decode>(sent: Sent<D>, limits: &Limits) -> Observed {
    Observed {
        key: Key::new(D::KIND, name_of(&sent)),
        uid: sent.uid().unwrap_or_default(),
        version: version_of(&sent),
        generation: sent.meta().generation.unwrap_or_default(),
        status: D::Source::status::<D::Stored>(&sent),
        read: D::Source::decode_sent::<D>(sent, limits).map(Into::into),
    }
}

struct Watch {
    kind: Kind,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
}

impl Watch {
    /// Reports changes until the receiver is dropped.
    async fn run<K>(self, api: Api<K>, observe: impl Fn(K) -> Observed)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let Self {
            kind,
            events,
            metrics,
        } = self;
        let mut reflector = Reflector::new(kind.name(), api, watcher::Config::default(), metrics);
        while let Some(change) = reflector.next().await {
            let seen = match change {
                Change::Applied(object) => Seen::Applied(Box::new(observe(object))),
                Change::Deleted(name, _) => Seen::Deleted(Key::new(kind, name)),
                Change::Listed(_) => Seen::Listed(kind),
            };
            let at = Instant::now();
            if events.send(Event { at, seen }).await.is_err() {
                return;
            }
        }
    }
}
