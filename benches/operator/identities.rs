//! Pods of a trusted service: one joins, compared with a pod of a subnet, and the address of one is used again.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testkit::client::Verdict::{self, Allowed, Denied};
use testkit::wait::wait_for;

use crate::objects;
use crate::pollers::Poller;
use crate::report::{self, Row, Target};
use crate::sandbox::{MEASURED, Sandbox, TIMEOUT};
use crate::writes::{milliseconds, write_policy};

/// Service account of the trusted service.
const ACCOUNT: &str = "agent";
/// Other running pods of the service account: as many as the vault's rule has pods.
const OTHER_PODS: u32 = 50;
/// Time without another verdict after each change.
const PAUSE: Duration = Duration::from_millis(100);

/// A pod that starts and ends, and the client behind its address.
struct Guest {
    name: &'static str,
    pod: Value,
    address: Ipv4Addr,
    poller: Poller,
}

/// Measures both, in turn, with so many samples of each.
pub(crate) fn measure(sandbox: &Sandbox, samples: usize) {
    prepare(sandbox);
    let pods = Api::<Pod>::namespaced(sandbox.kube.clone(), objects::PODS);
    let proxy = sandbox.data_endpoint(MEASURED);
    let guest = |name, pod: Value, last| {
        let address = Ipv4Addr::new(127, 61, 0, last);
        sandbox.runtime.block_on(start(&pods, name, &pod, address));
        wait_for(&format!("{name} is allowed"), || {
            (testkit::client::Client::new(address, proxy).verdict() == Allowed).then_some(())
        });
        let poller = Poller::start(address, proxy, Allowed);
        Guest {
            name,
            pod,
            address,
            poller,
        }
    };
    let of_subnet = guest(
        "joins-subnet",
        objects::pod("joins-subnet", &objects::crowd(MEASURED)),
        5,
    );
    let of_identity = guest("joins-identity", agent("joins-identity"), 6);
    let (mut subnet, mut identity, mut reused) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..samples {
        subnet.extend(sandbox.runtime.block_on(leave_and_join(&pods, &of_subnet)));
        identity.extend(
            sandbox
                .runtime
                .block_on(leave_and_join(&pods, &of_identity)),
        );
        reused.push(sandbox.runtime.block_on(reuse(&pods, &of_identity)));
    }
    report::heading(
        "\nPods of a trusted service: from the API server's answer until Envoy enforces it",
    );
    let row = |change, times: &[f64], target| {
        report::row(&Row {
            change,
            policies: sandbox.policies(),
            pods: sandbox.pods,
            others: 0.0,
            times,
            target,
        });
    };
    let limit = (12.0 * report::percentile(&subnet, 50)).round() / 10.0;
    row("subnet: pod joins", &subnet, None);
    row(
        "identity: pod joins",
        &identity,
        Some(Target {
            p50: limit,
            p99: f64::INFINITY,
        }),
    );
    row("address reused", &reused, None);
}

/// Creates the service account, its service and its other pods, and enables the bypass of the measured vault.
fn prepare(sandbox: &Sandbox) {
    let service = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": objects::PODS}},
        {
            "apiVersion": "vaultwall.dev/v1alpha1", "kind": "TrustedService", "metadata": {"name": ACCOUNT},
            "spec": {
                "scenarios": [{"name": "read", "operations": ["secrets/get"]}],
                "identities": [{"serviceAccount": {"namespace": objects::PODS, "name": ACCOUNT}}],
            },
        },
    ]});
    sandbox.server().apply(&service.to_string());
    let others = (0..OTHER_PODS).map(|number| {
        let name = format!("agent-{number}");
        (agent(&name), name, Ipv4Addr::from(0x0b00_0000 + number))
    });
    sandbox.create_pods(others.collect());
    let mut policy = objects::policy(0, MEASURED, crate::sandbox::POD.0);
    policy["spec"]["bypass"] = "TrustedServices".into();
    let api = Api::namespaced(sandbox.kube.clone(), objects::VAULTS);
    sandbox
        .runtime
        .block_on(write_policy(&api, 0, policy))
        .unwrap();
    sandbox.wait_until_quiet();
}

/// A pod of the service account, in no rule.
fn agent(name: &str) -> Value {
    let mut pod = objects::pod(name, objects::STRANGER);
    pod["spec"]["serviceAccountName"] = ACCOUNT.into();
    pod
}

async fn start(pods: &Api<Pod>, name: &str, pod: &Value, address: Ipv4Addr) -> Instant {
    let pod = serde_json::from_value(pod.clone()).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    run(pods, name, address).await
}

/// Reports a pod as running, as its node does, and returns the time of the answer.
async fn run(pods: &Api<Pod>, name: &str, address: Ipv4Addr) -> Instant {
    let status = Patch::Merge(objects::runs(address));
    pods.patch_status(name, &PatchParams::default(), &status)
        .await
        .unwrap();
    Instant::now()
}

async fn delete(pods: &Api<Pod>, name: &str) -> Instant {
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete(name, &at_once).await.unwrap();
    Instant::now()
}

/// Deletes the pod and starts it again. Both times, from the answer until the verdict, in milliseconds.
async fn leave_and_join(pods: &Api<Pod>, guest: &Guest) -> [f64; 2] {
    let deleted = delete(pods, guest.name).await;
    let left = guest.changed(deleted, &Denied);
    let started = start(pods, guest.name, &guest.pod, guest.address).await;
    [left, guest.changed(started, &Allowed)]
}

/// Deletes the pod, and at the same time gives its address to a pod of the default account. Returns how long that pod
/// was trusted after the answer that it runs, in milliseconds; negative if it never was.
async fn reuse(pods: &Api<Pod>, guest: &Guest) -> f64 {
    let name = "successor";
    let successor = serde_json::from_value(objects::pod(name, objects::STRANGER)).unwrap();
    pods.create(&PostParams::default(), &successor)
        .await
        .unwrap();
    let (_, runs) = tokio::join!(delete(pods, guest.name), run(pods, name, guest.address));
    let trusted = guest.changed(runs, &Denied);
    delete(pods, name).await;
    let started = start(pods, guest.name, &guest.pod, guest.address).await;
    guest.changed(started, &Allowed);
    trusted
}

impl Guest {
    /// Time until the next verdict, which has to be this one, and the last for a while.
    fn changed(&self, since: Instant, verdict: &Verdict) -> f64 {
        let changed = self.poller.next(TIMEOUT);
        let changed =
            changed.unwrap_or_else(|| panic!("{}: no {verdict:?} in {TIMEOUT:?}", self.name));
        assert_eq!(changed.verdict, *verdict, "{}", self.name);
        let again = self.poller.next(PAUSE).map(|changed| changed.verdict);
        assert_eq!(again, None, "{} after {verdict:?}", self.name);
        milliseconds(since, changed.at)
    }
}
