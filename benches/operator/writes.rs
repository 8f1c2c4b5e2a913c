//! Changes that are measured one after the other, and other writes at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use vaultwall::api::VaultNetworkPolicy;

use crate::objects;
use crate::process;
use crate::sandbox::{MEASURED, POD, Sandbox, TIMEOUT};
use testkit::client::Verdict::{self, Allowed, Denied};

/// Field manager of the writes.
const WRITER: &str = "vaultwall-bench";
/// Between one change's end and the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Other writes that may be in progress; a slower server gets fewer.
const UNDER_WAY: usize = 32;

/// Kind of change that is measured.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    /// A rule of a policy of the measured vault names another app.
    Rule,
    /// A pod wears another app.
    Pod,
}

impl Change {
    /// The app that leaves the rule without the pod, or the pod without a rule.
    fn away(self) -> &'static str {
        match self {
            Self::Rule => objects::NOBODY,
            Self::Pod => objects::STRANGER,
        }
    }
}

/// Other writes during the measurement.
pub(crate) struct Others {
    a_second: u32,
    change: Change,
}

impl Others {
    /// Policies of vaults that are not measured.
    pub(crate) fn policies(a_second: u32) -> Self {
        let change = Change::Rule;
        Self { a_second, change }
    }

    /// Labels of pods, which join and leave their vault's subnet.
    pub(crate) fn pods(a_second: u32) -> Self {
        let change = Change::Pod;
        Self { a_second, change }
    }
}

pub(crate) struct Series {
    /// From the answer to the write until the verdict, in milliseconds; negative when the verdict was first.
    pub times: Vec<f64>,
    /// Other writes a second, as many as succeeded.
    pub others: f64,
    /// CPU time of the operator for one change, with everything that it does in that time.
    pub cpu: Duration,
}

/// Makes changes, each after the one before is enforced.
pub(crate) fn series(sandbox: &Sandbox, change: Change, others: &Others, samples: usize) -> Series {
    let poller = sandbox.poller.as_ref().unwrap();
    let done = Arc::new(AtomicU32::new(0));
    let other_writes = sandbox
        .runtime
        .spawn(write_others(sandbox, others, Arc::clone(&done)));
    let cpu = process::cpu(sandbox.operator());
    let begin = Instant::now();
    let mut times = Vec::new();
    // The last one puts everything back as it was.
    for number in 0..samples.next_multiple_of(2) {
        let (app, verdict) = if number % 2 == 0 {
            (change.away(), Denied)
        } else {
            (POD.0, Allowed)
        };
        let write = write(sandbox, change, app);
        let answered = sandbox.runtime.block_on(async {
            write.await;
            Instant::now()
        });
        let changed = poller
            .next(TIMEOUT)
            .unwrap_or_else(|| panic!("change {number} was not enforced in {TIMEOUT:?}"));
        assert_eq!(changed.verdict, verdict, "change {number}");
        times.push(milliseconds(answered, changed.at));
        // A second flip within the pause would be wrong: a change flips a verdict once.
        let again: Option<Verdict> = poller.next(PAUSE).map(|changed| changed.verdict);
        assert_eq!(again, None, "after change {number} to {verdict:?}");
    }
    let (time, cpu) = (begin.elapsed(), process::cpu_since(sandbox.operator(), cpu));
    other_writes.abort();
    Series {
        others: f64::from(done.load(Ordering::Relaxed)) / time.as_secs_f64(),
        cpu: cpu / u32::try_from(times.len()).unwrap(),
        times,
    }
}

fn write(sandbox: &Sandbox, change: Change, app: &str) -> impl Future<Output = ()> + use<> {
    let kube = sandbox.kube.clone();
    let (rule, pod) = match change {
        Change::Rule => (Some(objects::policy(0, MEASURED, app)), None),
        Change::Pod => (None, Some(labelled(app))),
    };
    async move {
        if let Some(policy) = rule {
            let api = Api::namespaced(kube, objects::VAULTS);
            write_policy(&api, 0, policy).await.unwrap();
        } else if let Some(labels) = pod {
            let api = Api::namespaced(kube, objects::PODS);
            write_pod(&api, POD.0, labels).await.unwrap();
        }
    }
}

/// Writes at a rate for ever.
fn write_others(
    sandbox: &Sandbox,
    others: &Others,
    done: Arc<AtomicU32>,
) -> impl Future<Output = ()> + use<> {
    let policies: Vec<(usize, usize)> = sandbox
        .edited_policies()
        .into_iter()
        .map(|number| (number, sandbox.vault_of(number)))
        .collect();
    let pods: Vec<(String, String)> = (0..sandbox.pods)
        .map(|number| {
            let app = objects::crowd(sandbox.app_vault(number));
            (objects::runner(number).0, app)
        })
        .collect();
    let (a_second, change) = (others.a_second, others.change);
    let policies_api = Api::<VaultNetworkPolicy>::namespaced(sandbox.kube.clone(), objects::VAULTS);
    let pods_api = Api::<Pod>::namespaced(sandbox.kube.clone(), objects::PODS);
    async move {
        let count = match change {
            Change::Rule => policies.len(),
            Change::Pod => pods.len(),
        };
        if a_second == 0 || count == 0 {
            return;
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / a_second);
        let under_way = Arc::new(Semaphore::new(UNDER_WAY));
        for number in 0_usize.. {
            ticks.tick().await;
            let Ok(permit) = Arc::clone(&under_way).try_acquire_owned() else {
                continue;
            };
            // Each is taken away in one round and put back in the next.
            let away = (number / count).is_multiple_of(2);
            let number = number % count;
            let (policies_api, pods_api) = (policies_api.clone(), pods_api.clone());
            let policy = policies.get(number).copied();
            let pod = pods.get(number).cloned();
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                let written = match (change, policy, pod) {
                    (Change::Rule, Some((number, vault)), _) => {
                        let app = if away { change.away() } else { POD.0 };
                        let policy = objects::policy(number, vault, app);
                        write_policy(&policies_api, number, policy).await
                    }
                    (Change::Pod, _, Some((name, app))) => {
                        let app = if away { change.away() } else { &app };
                        write_pod(&pods_api, &name, labelled(app)).await
                    }
                    _ => return,
                };
                if written.is_ok() {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                drop(permit);
            });
        }
    }
}

pub(crate) async fn write_policy(
    api: &Api<VaultNetworkPolicy>,
    number: usize,
    policy: Value,
) -> kube::Result<()> {
    let name = objects::policy_name(number);
    let parameters = PatchParams::apply(WRITER).force();
    api.patch(&name, &parameters, &Patch::Apply(policy)).await?;
    Ok(())
}

async fn write_pod(api: &Api<Pod>, name: &str, labels: Value) -> kube::Result<()> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(labels))
        .await?;
    Ok(())
}

fn labelled(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}})
}

/// Time from one moment to another; negative if the second was first.
pub(crate) fn milliseconds(from: Instant, to: Instant) -> f64 {
    let after = to.saturating_duration_since(from).as_secs_f64();
    let before = from.saturating_duration_since(to).as_secs_f64();
    (after - before) * 1e3
}
