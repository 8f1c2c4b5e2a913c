//! Time until a deleted `NetworkPolicy` is back, while a tenant of another namespace edits its policies all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::DeleteParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use vaultwall::api::VaultNetworkPolicy;

use crate::objects;
use crate::report::{self, Row, Target};
use crate::sandbox::{Sandbox, create};
use crate::writes::write_policy;

/// Namespace of the tenant that edits, alphabetically before the other.
const BUSY: &str = "aaa";
/// Policies of that tenant, each of a vault of its own, and edits of them in a second.
const POLICIES: usize = 24;
const EDITS: u32 = 50;
/// Edits that may be in progress; a slower server gets fewer.
const UNDER_WAY: usize = 32;
/// Edits before the first deletion.
const WARM_UP: u32 = 100;
/// Pause between two deletions.
const PAUSE: Duration = Duration::from_millis(100);
/// A `NetworkPolicy` that is not back after this time counts with this time.
const LONGEST: Duration = Duration::from_mins(1);

/// Prints the times without and with edits of the other tenant.
pub(crate) fn measure(samples: usize) {
    let sandbox = Sandbox::start(&testkit::vaultwall(), 1);
    sandbox.server().apply(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": BUSY}}).to_string(),
    );
    let services = Api::<Service>::namespaced(sandbox.kube.clone(), BUSY);
    let policies = Api::<VaultNetworkPolicy>::namespaced(sandbox.kube.clone(), BUSY);
    let numbers = 0..POLICIES;
    sandbox.runtime.block_on(async {
        let made = numbers.clone().map(|number| busy(objects::service(number)));
        create(&services, made.collect()).await;
        let made = numbers.map(|number| busy(objects::policy(number, number, objects::NOBODY)));
        create(&policies, made.collect()).await;
        let other = Api::<VaultNetworkPolicy>::namespaced(sandbox.kube.clone(), objects::VAULTS);
        create(&other, vec![objects::policy(0, 0, objects::NOBODY)]).await;
    });
    sandbox.wait_until_quiet();
    report::heading("From the deletion of a NetworkPolicy until it is back");
    row(&deletions(&sandbox, samples), 0.0);
    let done = Arc::new(AtomicU32::new(0));
    let edits = sandbox.runtime.spawn(edit(policies, Arc::clone(&done)));
    while done.load(Ordering::Relaxed) < WARM_UP {
        std::thread::sleep(PAUSE);
    }
    let (begin, before) = (Instant::now(), done.load(Ordering::Relaxed));
    let times = deletions(&sandbox, samples);
    let edited = f64::from(done.load(Ordering::Relaxed) - before);
    edits.abort();
    row(&times, edited / begin.elapsed().as_secs_f64());
}

fn row(times: &[f64], others: f64) {
    report::row(&Row {
        change: "NetworkPolicy back",
        policies: POLICIES + 1,
        pods: 0,
        others,
        times,
        target: Some(Target {
            p50: f64::INFINITY,
            p99: 1000.0,
        }),
    });
}

/// The same object in the namespace of the tenant that edits.
fn busy(mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!(BUSY);
    object
}

/// Deletes a `NetworkPolicy` again and again. Returns the times until it is back, in milliseconds.
fn deletions(sandbox: &Sandbox, samples: usize) -> Vec<f64> {
    let name = format!("{}-vault", objects::vault_name(0));
    let api = Api::<NetworkPolicy>::namespaced(sandbox.kube.clone(), objects::VAULTS);
    sandbox.runtime.block_on(async {
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = Box::pin(watcher(api.clone(), only));
        let mut times = Vec::new();
        let mut uid = api.get(&name).await.unwrap().uid();
        for _ in 0..samples {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
            let deleted = Instant::now();
            let is_back = async {
                loop {
                    if let Some(Event::Apply(found) | Event::InitApply(found)) =
                        events.try_next().await.unwrap()
                        && found.uid() != uid
                    {
                        return found.uid();
                    }
                }
            };
            let Ok(back) = tokio::time::timeout(LONGEST, is_back).await else {
                times.push(LONGEST.as_secs_f64() * 1e3);
                break;
            };
            uid = back;
            times.push(deleted.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(PAUSE).await;
        }
        times
    })
}

/// Edits the policies of the tenant at a rate for ever.
async fn edit(api: Api<VaultNetworkPolicy>, done: Arc<AtomicU32>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / EDITS);
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    for number in 0_usize.. {
        ticks.tick().await;
        let Ok(permit) = Arc::clone(&under_way).try_acquire_owned() else {
            continue;
        };
        let app = if (number / POLICIES).is_multiple_of(2) {
            objects::STRANGER
        } else {
            objects::NOBODY
        };
        let number = number % POLICIES;
        let (api, done) = (api.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let policy = busy(objects::policy(number, number, app));
            if write_policy(&api, number, policy).await.is_ok() {
                done.fetch_add(1, Ordering::Relaxed);
            }
            drop(permit);
        });
    }
}
