//! Cost of one change before Envoy receives it, and of one decision: the basis of the performance claims of the pure
//! core. Prints tables, asserts nothing about time.
//!
//! `cargo bench --bench compile`. Times are of this process on this machine: compare within one run only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vaultwall::api::VaultNetworkPolicy;
use vaultwall::compile::envoy::{Proxy, Tls, configuration, extensions};
use vaultwall::index::{Index, Key, Kind, ObservedPod, PodFact};
use vaultwall::limits::Limits;
use vaultwall::objects::{LoadedObjects, parse_file};
use vaultwall::policy::{Caller, Decision, Firewall, Listener, VaultId, decide, validate_policy};
use vaultwall::vault_api::Request;
use vaultwall::xds::{Resource, Snapshot};

/// How long each line of a table is measured.
const BUDGET: Duration = Duration::from_millis(1_500);
/// Most samples of a line.
const MOST: usize = 2_000;
/// Decisions that are timed together: one alone is near the resolution of the clock.
const BATCH: u32 = 50;

/// Stages between an event and the snapshot that sessions send from, in order.
const STAGES: [&str; 5] = ["validate", "index", "resolve", "compile", "snapshot"];

fn main() {
    // `cargo test --all-targets` runs benches too, unoptimized.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only when it is run by `cargo bench`");
        return;
    }
    changes();
    loading();
    decisions();
}

/// One change: its cost by stage, in a vault whose subnet has so many pods, alone or among many vaults.
fn changes() {
    println!(
        "One change, from the event to the new snapshot (median of each stage, then of all)\n"
    );
    print!("{:<18}{:>10}{:>10}", "change", "addresses", "policies");
    for stage in STAGES {
        print!("{stage:>10}");
    }
    println!("{:>10}{:>10}{:>9}", "all", "p99", "samples");
    for (addresses, vaults) in [(10, 1), (1_000, 1), (20_000, 1), (1_000, 200)] {
        let mut scene = Scene::new(addresses, vaults);
        let policies = scene.policies;
        line(("rule edited", addresses, policies), || scene.edit_a_rule());
        line(("pod joins, leaves", addresses, policies), || {
            scene.move_a_pod()
        });
    }
}

/// Reading 1,000 pods as `kubectl get -o yaml` prints them, and an index of them.
fn loading() {
    const PODS: usize = 1_000;
    println!("\nLoading {PODS} pods\n");
    println!("{:<22}{:>10}{:>10}{:>9}", "step", "all", "p99", "samples");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": (0..PODS).map(pod_object).collect::<Vec<_>>()});
    let yaml = serde_saphyr::to_string(&list).unwrap();
    let json = list.to_string();
    let read = |text: &str| {
        LoadedObjects::of([parse_file(Path::new("pods"), text, &Limits::default()).unwrap()])
    };
    for (name, text) in [("YAML to facts", &yaml), ("JSON to facts", &json)] {
        let samples = sample(|| timed(|| drop(black_box(read(text)))));
        print_line(name, &samples);
    }
    let samples = sample(|| {
        let loaded = read(&json);
        timed(|| drop(black_box(loaded.into_index(Limits::default()))))
    });
    print_line("facts to index", &samples);
}

/// One request, classified and decided, by who asks.
fn decisions() {
    println!("\nOne decision, on {BATCH} requests at a time\n");
    println!(
        "{:<22}{:>10}{:>10}{:>10}{:>9}",
        "caller", "addresses", "all", "p99", "samples"
    );
    for addresses in [10, 1_000, 20_000] {
        let firewall = Scene::new(addresses, 1).firewall();
        let table = firewall.table();
        let request = Request {
            has_body: false,
            several_tokens: false,
            announced: None,
            method: "GET",
            target: "/v1/secret/data/team/app?version=3",
            namespace: None,
        };
        for (name, address) in [
            ("pod of the subnet", pod_address(addresses / 2)),
            ("IP rule", Ipv4Addr::new(203, 0, 113, 200)),
            ("nobody's", Ipv4Addr::new(9, 9, 9, 9)),
        ] {
            let caller = Caller::new(IpAddr::V4(address), IpAddr::V4(address));
            let one =
                || -> Decision { decide(&firewall, &table, Listener::Data, caller, &request) };
            let samples = sample(|| {
                timed(|| {
                    for _ in 0..BATCH {
                        black_box(one());
                    }
                }) / BATCH
            });
            print_line(&format!("{name:<22}{addresses:>10}"), &samples);
        }
    }
}

/// An index with vaults, and the one whose policy or pods change.
struct Scene {
    index: Index,
    vault: VaultId,
    policy: VaultNetworkPolicy,
    policies: usize,
    /// Resources that rules do not touch; they are kept, not compiled again.
    fixed: Vec<Resource>,
    /// Whether the rule has its other value.
    edited: bool,
    /// Whether the pod that comes and goes is there.
    joined: bool,
}

type Stages = [Duration; STAGES.len()];

impl Scene {
    /// Each vault lets in a subnet of its own; the first vault's has `addresses` pods. Five policies a vault where
    /// there are several.
    fn new(addresses: usize, vaults: usize) -> Self {
        let mut objects = vec![json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "build", "labels": {"team": "build"}},
        })];
        let each = if vaults > 1 { 5 } else { 1 };
        for vault in 0..vaults {
            objects.push(network_object(vault));
            objects.extend((0..each).map(|policy| policy_object(vault, policy)));
        }
        let text = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let contents = parse_file(Path::new("scene"), &text, &Limits::default()).unwrap();
        let loaded = LoadedObjects::of([contents]);
        assert!(loaded.violations.is_empty(), "{:?}", loaded.violations);
        let mut index = loaded.into_index(Limits::default());
        for number in 0..addresses {
            index.apply(ObservedPod::Counted(pod(number)));
        }
        let vault = VaultId {
            namespace: "vault".into(),
            service: "openbao-0".into(),
        };
        for other in index.take_changed() {
            index.resolve(&other).unwrap();
        }
        let mut scene = Self {
            index,
            vault,
            policy: serde_json::from_value(policy_object(0, 0)).unwrap(),
            policies: vaults * each,
            fixed: Vec::new(),
            edited: false,
            joined: false,
        };
        let firewall = scene.firewall();
        assert_eq!(firewall.virtual_networks.len(), addresses);
        let made = configuration(
            &firewall,
            &firewall.table(),
            &Proxy::in_cluster(&firewall, Tls::default(), None),
        );
        scene.fixed = made
            .clusters
            .iter()
            .map(Resource::new)
            .chain(made.listeners.iter().map(Resource::new))
            .chain(made.routes.iter().map(Resource::new))
            .collect();
        scene
    }

    fn firewall(&mut self) -> Firewall {
        self.index.resolve(&self.vault).unwrap().resolution.firewall
    }

    fn edit_a_rule(&mut self) -> Stages {
        self.edited = !self.edited;
        let address = if self.edited {
            "203.0.113.8"
        } else {
            "203.0.113.7"
        };
        self.policy.spec.ip_rules[0].value = Some(address.into());
        let started = Instant::now();
        let policy = validate_policy(&self.policy, &Limits::default()).unwrap();
        let validated = started.elapsed();
        let started = Instant::now();
        self.index.apply(policy);
        self.publish(validated, started.elapsed())
    }

    fn move_a_pod(&mut self) -> Stages {
        self.joined = !self.joined;
        let pod = pod(60_000);
        let started = Instant::now();
        if self.joined {
            self.index.apply(ObservedPod::Counted(pod));
        } else {
            self.index.delete(&Key::new(Kind::Pod, pod.id()));
        }
        self.publish(Duration::ZERO, started.elapsed())
    }

    /// Work that follows an event, for the vault that is measured.
    fn publish(&mut self, validated: Duration, indexed: Duration) -> Stages {
        let changed = self.index.take_changed();
        assert!(
            changed.iter().eq([&self.vault]),
            "only its own vault: {changed:?}"
        );
        let started = Instant::now();
        let firewall = self.firewall();
        let resolved = started.elapsed();
        let started = Instant::now();
        let rules = extensions(&firewall);
        let compiled = started.elapsed();
        let started = Instant::now();
        let rules = rules.iter().map(Resource::new);
        let snapshot = Snapshot::new(self.fixed.iter().cloned().chain(rules).collect());
        let hashed = started.elapsed();
        black_box(snapshot);
        [validated, indexed, resolved, compiled, hashed]
    }
}

fn network_object(vault: usize) -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VirtualNetwork",
        "metadata": {"name": format!("corp-{vault}")},
        "spec": {"subnets": [{"name": "build", "serviceEndpoints": ["Vault"], "pods": {
            "namespaceSelector": {"matchLabels": {"team": "build"}},
            "podSelector": {"matchLabels": {"app": format!("runner-{vault}")}},
        }}]},
    })
}

fn policy_object(vault: usize, policy: usize) -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": format!("openbao-{vault}-{policy}"), "namespace": "vault"},
        "spec": {
            "targetRef": {"kind": "Service", "name": format!("openbao-{vault}"), "port": 8200},
            "vault": {"engines": [{"path": "secret", "type": "KvV2"}, {"path": "transit", "type": "Transit"}]},
            "virtualNetworkRules": [{"subnet": {"virtualNetwork": format!("corp-{vault}"), "name": "build"}}],
            "ipRules": [
                {"name": "edited", "value": "203.0.113.7"},
                {"name": "hq", "value": "203.0.113.200"},
                {"name": "office", "value": "198.51.100.0/24"},
            ],
        },
    })
}

fn pod_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap())
}

fn pod(number: usize) -> PodFact {
    PodFact {
        namespace: "build".into(),
        name: format!("runner-{number}"),
        labels: [("app".to_owned(), "runner-0".to_owned())].into(),
        uid: None,
        service_account: "default".into(),
        addresses: vec![pod_address(number)],
    }
}

fn pod_object(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("runner-{number}"), "namespace": "build",
            "uid": format!("00000000-0000-4000-8000-{number:012}"),
            "labels": {"app": "runner", "pod-template-hash": "5d8b9c7f6"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "serviceAccountName": "runner",
            "nodeName": "node-1",
            "containers": [{"name": "main", "image": "runner:1", "ports": [{"containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}],
        },
        "status": {
            "phase": "Running", "podIP": pod_address(number).to_string(),
            "podIPs": [{"ip": pod_address(number).to_string()}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
        },
    })
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Samples until the budget is spent; the first warms the caches and does not count.
fn sample<T>(mut one: impl FnMut() -> T) -> Vec<T> {
    one();
    let started = Instant::now();
    let mut samples = Vec::new();
    while samples.is_empty() || (started.elapsed() < BUDGET && samples.len() < MOST) {
        samples.push(one());
    }
    samples
}

fn line((name, addresses, policies): (&str, usize, usize), one: impl FnMut() -> Stages) {
    let samples = sample(one);
    print!("{name:<18}{addresses:>10}{policies:>10}");
    for stage in 0..STAGES.len() {
        let times: Vec<_> = samples.iter().map(|stages| stages[stage]).collect();
        print!("{:>10}", shown(percentile(&times, 50)));
    }
    let totals: Vec<Duration> = samples.iter().map(|stages| stages.iter().sum()).collect();
    print_line("", &totals);
}

fn print_line(name: &str, samples: &[Duration]) {
    let width = if name.is_empty() { 0 } else { 22 };
    println!(
        "{name:<width$}{:>10}{:>10}{:>9}",
        shown(percentile(samples, 50)),
        shown(percentile(samples, 99)),
        samples.len()
    );
}

fn percentile(samples: &[Duration], percent: usize) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// A duration in a cell.
fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if time.is_zero() {
        "-".to_owned()
    } else if micros < 1e3 {
        format!("{micros:.1} us")
    } else if micros < 1e6 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}
