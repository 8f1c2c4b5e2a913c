//! The loop: watches objects and keeps their ruleset in force.
//!
//! Until each kind is listed once, the table stays as it is found, so a restart opens nothing. Later, every failure
//! (the API server does not respond, nft refuses) leaves the earlier rules in force, is logged, and is tried again.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

use crate::nft::Nft;
use crate::policy::{Model, render, resolve};

/// Changes within this time are sent to nft together.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// Pause before a failed change is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Event of a watch.
enum Event {
    Changed,
    /// All objects of the kind are in the store.
    Listed(&'static str),
    Failed(&'static str, watcher::Error),
}

/// Runs for ever. It returns only if the watches end, which they do not do by themselves.
pub async fn run(client: Client, nft: Nft) -> String {
    let (policies, of_policies) = watched::<NetworkPolicy>(&client, "networkpolicies");
    let (pods, of_pods) = watched::<Pod>(&client, "pods");
    let (namespaces, of_namespaces) = watched::<Namespace>(&client, "namespaces");
    let mut events = select_all([of_policies, of_pods, of_namespaces]);
    let mut unlisted = BTreeSet::from(["networkpolicies", "pods", "namespaces"]);
    let mut in_force = None;
    // Time of the next update, and time of the first change that it covers.
    let mut due: Option<(Instant, Instant)> = None;
    loop {
        let (at, since) = due.unwrap_or_else(|| (Instant::now(), Instant::now()));
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Changed) => due = due.or_else(soon),
                Some(Event::Listed(kind)) => {
                    unlisted.remove(kind);
                    due = due.or_else(soon);
                }
                Some(Event::Failed(kind, error)) => {
                    tracing::warn!("the watch of {kind} failed, the last rules stay: {error}");
                }
                None => return "the watches ended".into(),
            },
            () = sleep_until(at), if due.is_some() && unlisted.is_empty() => {
                let model = resolve(&policies.state(), &pods.state(), &namespaces.state());
                let ruleset = render(&model, &nft.table);
                due = None;
                if in_force.as_ref() == Some(&ruleset) {
                    continue;
                }
                match nft.apply(&ruleset).await {
                    Ok(()) => {
                        log(&model, since);
                        in_force = Some(ruleset);
                    }
                    Err(error) => {
                        tracing::error!("the last rules stay, next try in a second: {error}");
                        due = Some((Instant::now() + RETRY, since));
                    }
                }
            }
        }
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "`Option::or_else` takes a function that returns an option"
)]
fn soon() -> Option<(Instant, Instant)> {
    let now = Instant::now();
    Some((now + DEBOUNCE, now))
}

fn log(model: &Model, since: Instant) {
    let isolated =
        |addresses: usize| format!("{addresses} pod{}", if addresses == 1 { "" } else { "s" });
    tracing::info!(
        "in force after {} ms: {} isolated for ingress, {} for egress",
        since.elapsed().as_millis(),
        isolated(model.ingress.len()),
        isolated(model.egress.len()),
    );
}

/// A store of all objects of a kind, and the events that change it.
fn watched<K>(client: &Client, kind: &'static str) -> (Store<K>, BoxStream<'static, Event>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let objects = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear());
    let events = reflector::reflector(writer, objects).filter_map(move |event| async move {
        match event {
            // A new list takes effect when it is complete; until then the store keeps the old one.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Ok(watcher::Event::InitDone) => Some(Event::Listed(kind)),
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => Some(Event::Changed),
            Err(error) => Some(Event::Failed(kind, error)),
        }
    });
    (store, events.boxed())
}
