//! Watches of the API server, as a stream of plain facts. One task a kind, so that one kind's trouble holds up no
//! other.
//!
//! A list that begins anew (relist, 410, reconnect) loses nothing: what is not in it any more is reported as gone.
//! Objects that cannot be read are reported too, and never stall a watch.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use futures::{TryStreamExt, pin_mut};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::api::{VaultNetworkPolicy, VaultNetworkPolicyStatus, VirtualNetwork};
use crate::index::{EndpointSliceFact, NamespaceFact, ObjectName, ObservedPod, ServiceFact};
use crate::limits::Limits;
use crate::objects::{self, Object, Refused};
use crate::runtime::operations::Metrics;

/// Events that may wait for the engine before the watches do.
const QUEUED: usize = 1024;

/// What is watched for the firewalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Policy,
    VirtualNetwork,
    Namespace,
    Pod,
    Service,
    EndpointSlice,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Policy,
        Self::VirtualNetwork,
        Self::Namespace,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
    ];

    /// Name of the kind in Kubernetes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Policy => "VaultNetworkPolicy",
            Self::VirtualNetwork => "VirtualNetwork",
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }
}

/// A policy as it stands in the API server.
#[derive(Clone, Debug)]
pub(crate) struct StoredPolicy {
    pub(crate) id: ObjectName,
    pub(crate) uid: String,
    /// Which write made it: later ones have greater versions.
    pub(crate) version: u64,
    pub(crate) generation: i64,
    /// As it was last written.
    pub(crate) status: Option<VaultNetworkPolicyStatus>,
    /// Its meaning, or why it has none.
    pub(crate) read: Result<Object, Refused>,
}

/// An object that is there.
#[derive(Debug)]
pub(crate) enum Fact {
    Policy(Box<StoredPolicy>),
    VirtualNetwork {
        name: String,
        uid: String,
        read: Box<Result<Object, Refused>>,
    },
    Namespace {
        fact: NamespaceFact,
        phase: Option<String>,
    },
    Pod(ObservedPod),
    Service(ServiceFact),
    EndpointSlice(EndpointSliceFact),
}

/// What a watch saw.
#[derive(Debug)]
pub(crate) enum Seen {
    /// It is there, or changed.
    Is(Box<Fact>),
    /// It is gone.
    Gone(Kind, ObjectName),
    /// Everything of a kind has been seen once.
    Listed(Kind),
}

/// Something seen, and when.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) seen: Seen,
}

/// Starts all watches; they end when the receiver is dropped.
pub(crate) fn start(
    client: &Client,
    limits: Limits,
    metrics: &Arc<Metrics>,
) -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(QUEUED);
    let watch = |kind| Watch {
        kind,
        events: events.clone(),
        metrics: Arc::clone(metrics),
    };
    let policies = ApiResource::erase::<VaultNetworkPolicy>(&());
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &policies);
    tokio::spawn(watch(Kind::Policy).run(policies, move |object| Some(policy(object, &limits))));
    let networks = ApiResource::erase::<VirtualNetwork>(&());
    let networks: Api<DynamicObject> = Api::all_with(client.clone(), &networks);
    tokio::spawn(watch(Kind::VirtualNetwork).run(networks, move |object| {
        let (name, uid) = (object.name_any(), object.uid().unwrap_or_default());
        let read = objects::read_custom("VirtualNetwork", value_of(object), &limits);
        let read = Box::new(read);
        Some(Fact::VirtualNetwork { name, uid, read })
    }));
    tokio::spawn(
        watch(Kind::Namespace).run(Api::<Namespace>::all(client.clone()), |object| {
            let fact = NamespaceFact::from_object(&object).ok()?;
            let phase = object.status.and_then(|status| status.phase);
            Some(Fact::Namespace { fact, phase })
        }),
    );
    tokio::spawn(watch(Kind::Pod).run(namespaced::<Pod>(client), |object| {
        Some(Fact::Pod(ObservedPod::from_object(&object).ok()?))
    }));
    tokio::spawn(
        watch(Kind::Service).run(namespaced::<Service>(client), |object| {
            Some(Fact::Service(ServiceFact::from_object(&object).ok()?))
        }),
    );
    tokio::spawn(
        watch(Kind::EndpointSlice).run(namespaced::<EndpointSlice>(client), |object| {
            Some(Fact::EndpointSlice(EndpointSliceFact::from_object(
                &object,
            )?))
        }),
    );
    receiver
}

fn namespaced<K>(client: &Client) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::all(client.clone())
}

struct Watch {
    kind: Kind,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
}

impl Watch {
    /// Reports until nobody listens any more. `read` makes the fact; without one the object counts as gone.
    async fn run<K>(self, api: Api<K>, read: impl Fn(K) -> Option<Fact>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut known = BTreeSet::new();
        let mut listed = BTreeSet::new();
        let stream = watcher(api, watcher::Config::default()).default_backoff();
        pin_mut!(stream);
        loop {
            let event = match stream.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    self.metrics.watch_restarted(self.kind.name());
                    tracing::warn!(
                        "the watch of {} was interrupted and goes on: {error}",
                        self.kind.name()
                    );
                    continue;
                }
            };
            let seen = match event {
                watcher::Event::Init => {
                    listed.clear();
                    continue;
                }
                watcher::Event::InitApply(object) => {
                    listed.insert(name_of(&object));
                    self.is(object, &read, &mut known)
                }
                watcher::Event::Apply(object) => self.is(object, &read, &mut known),
                watcher::Event::Delete(object) => {
                    let name = name_of(&object);
                    known.remove(&name);
                    Seen::Gone(self.kind, name)
                }
                watcher::Event::InitDone => {
                    for name in known.difference(&listed).cloned().collect::<Vec<_>>() {
                        known.remove(&name);
                        if self.report(Seen::Gone(self.kind, name)).await.is_err() {
                            return;
                        }
                    }
                    Seen::Listed(self.kind)
                }
            };
            if self.report(seen).await.is_err() {
                return;
            }
        }
    }

    fn is<K: Resource>(
        &self,
        object: K,
        read: &impl Fn(K) -> Option<Fact>,
        known: &mut BTreeSet<ObjectName>,
    ) -> Seen {
        let name = name_of(&object);
        known.insert(name.clone());
        match read(object) {
            Some(fact) => Seen::Is(Box::new(fact)),
            None => Seen::Gone(self.kind, name),
        }
    }

    async fn report(&self, seen: Seen) -> Result<(), mpsc::error::SendError<Event>> {
        let at = Instant::now();
        self.events.send(Event { at, seen }).await
    }
}

pub(crate) fn name_of<K: Resource>(object: &K) -> ObjectName {
    ObjectName {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// Which write made an object: later ones have greater versions.
pub(crate) fn version_of<K: Resource>(object: &K) -> u64 {
    let version = object.resource_version();
    let version = version.and_then(|version| version.parse().ok());
    version.unwrap_or_default()
}

fn policy(object: DynamicObject, limits: &Limits) -> Fact {
    let status = object.data.get("status").cloned();
    Fact::Policy(Box::new(StoredPolicy {
        id: name_of(&object),
        uid: object.uid().unwrap_or_default(),
        version: version_of(&object),
        generation: object.metadata.generation.unwrap_or_default(),
        status: status.and_then(|status| serde_json::from_value(status).ok()),
        read: objects::read_custom("VaultNetworkPolicy", value_of(object), limits),
    }))
}

/// The object as it was sent, without what only the API server keeps books on.
fn value_of(mut object: DynamicObject) -> serde_json::Value {
    object.metadata.managed_fields = None;
    serde_json::to_value(object).unwrap_or_default()
}
