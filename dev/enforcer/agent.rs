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
const BURST: Duration = Duration::from_millis(5);
/// Until what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Event of a watch.
enum Seen {
    Changed,
    /// All objects of the kind are known.
    Listed(&'static str),
    Failed(&'static str, watcher::Error),
}

/// Runs for ever, but for the watches ending, which they do not by themselves.
pub async fn run(client: Client, nft: Nft) -> String {
    let (policies, of_policies) = watched::<NetworkPolicy>(&client, "networkpolicies");
    let (pods, of_pods) = watched::<Pod>(&client, "pods");
    let (namespaces, of_namespaces) = watched::<Namespace>(&client, "namespaces");
    let mut seen = select_all([of_policies, of_pods, of_namespaces]);
    let mut unlisted = BTreeSet::from(["networkpolicies", "pods", "namespaces"]);
    let mut in_force = None;
    // When to look at everything again, and since when that is due.
    let mut due: Option<(Instant, Instant)> = None;
    loop {
        let (at, since) = due.unwrap_or_else(|| (Instant::now(), Instant::now()));
        tokio::select! {
            what = seen.next() => match what {
                Some(Seen::Changed) => due = due.or_else(soon),
                Some(Seen::Listed(kind)) => {
                    unlisted.remove(kind);
                    due = due.or_else(soon);
                }
                Some(Seen::Failed(kind, error)) => {
                    tracing::warn!("{kind} are not watched for now, the last rules stay: {error}");
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
                        say(&model, since);
                        in_force = Some(ruleset);
                    }
                    Err(error) => {
                        tracing::error!("the last rules stay, tried again in a second: {error}");
                        due = Some((Instant::now() + RETRY, since));
                    }
                }
            }
        }
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "it is what `Option::or_else` takes"
)]
fn soon() -> Option<(Instant, Instant)> {
    let now = Instant::now();
    Some((now + BURST, now))
}

fn say(model: &Model, since: Instant) {
    let isolated =
        |addresses: usize| format!("{addresses} pod{}", if addresses == 1 { "" } else { "s" });
    tracing::info!(
        "in force after {} ms: {} isolated for ingress, {} for egress",
        since.elapsed().as_millis(),
        isolated(model.ingress.len()),
        isolated(model.egress.len()),
    );
}

/// All objects of a kind, and what becomes of them.
fn watched<K>(client: &Client, kind: &'static str) -> (Store<K>, BoxStream<'static, Seen>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear());
    let seen = reflector::reflector(writer, events).filter_map(move |event| async move {
        match event {
            // A new list counts once it is whole; the store keeps the old one until then.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Ok(watcher::Event::InitDone) => Some(Seen::Listed(kind)),
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) => Some(Seen::Changed),
            Err(error) => Some(Seen::Failed(kind, error)),
        }
    });
    (store, seen.boxed())
}
