//! Watches of the API server, as a channel of plain facts. Each kind has a task of its own, so that a failure of one
//! kind does not delay another.
//!
//! An object that cannot be decoded is reported as well, and never stalls its watch.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::api::{VaultNetworkPolicy, VaultNetworkPolicyStatus, VirtualNetwork};
use crate::index::{EndpointSliceFact, NamespaceFact, ObjectName, ObservedPod, ServiceFact};
use crate::limits::Limits;
use crate::objects::{self, Object, Refused};
use crate::runtime::operations::Metrics;
use crate::runtime::reflector::{Change, Reflector, name_of, version_of};

/// Capacity of the channel; when it is full, the watches wait for the engine.
const CAPACITY: usize = 1024;

/// Watched kind of object.
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

    /// Name of the kind, as manifests have it.
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

/// Stored form of a policy.
#[derive(Clone, Debug)]
pub(crate) struct StoredPolicy {
    pub(crate) id: ObjectName,
    pub(crate) uid: String,
    /// Resource version as a number: a later write has a greater one.
    pub(crate) version: u64,
    pub(crate) generation: i64,
    /// Status that was written last; none if it never had one.
    pub(crate) status: Option<VaultNetworkPolicyStatus>,
    /// Decoded and validated form, or the reasons why there is none.
    pub(crate) read: Result<Object, Refused>,
}

/// Fact about an object that exists.
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

/// Change that a watch saw.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The object was created or changed.
    Applied(Box<Fact>),
    /// The object was deleted.
    Deleted(Kind, ObjectName),
    /// Every object of the kind was listed.
    Listed(Kind),
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
    /// Reports changes until the receiver is dropped. `read` makes the fact; an object without one counts as deleted.
    async fn run<K>(self, api: Api<K>, read: impl Fn(K) -> Option<Fact>)
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
                Change::Applied(object) => {
                    let name = name_of(&object);
                    match read(object) {
                        Some(fact) => Seen::Applied(Box::new(fact)),
                        None => Seen::Deleted(kind, name),
                    }
                }
                Change::Deleted(name, _) => Seen::Deleted(kind, name),
                Change::Listed(_) => Seen::Listed(kind),
            };
            let at = Instant::now();
            if events.send(Event { at, seen }).await.is_err() {
                return;
            }
        }
    }
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

/// Returns the object as it was sent, without `managedFields`.
fn value_of(mut object: DynamicObject) -> serde_json::Value {
    object.metadata.managed_fields = None;
    serde_json::to_value(object).unwrap_or_default()
}
