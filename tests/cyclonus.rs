//! The rendered `NetworkPolicy` objects, checked by an independent engine: cyclonus.
//!
//! `tests/golden.rs` proves that `out/networkpolicies.yaml` is the rendered text; here cyclonus evaluates, for every
//! cell of the case's `reach.txt`, whether that packet passes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use serde_json::{Value, json};

use crate::cases::{Case, read, root};

/// The namespace of the vaults in all cases.
const VAULT_NAMESPACE: &str = "vault";

#[test]
fn cyclonus_allows_the_expected_packets_to_the_vault_and_the_proxies() {
    let cyclonus = cyclonus();
    let cluster = Cluster::read(&root().join("cluster.yaml"));
    let mut wrong = Vec::new();
    let mut cells = 0;
    for case in Case::all() {
        let expected = Reach::parse(&read(&case.path("reach.txt")));
        let traffic = expected.traffic(&cluster);
        cells += traffic.len();
        let answers = ask(
            &cyclonus,
            &read(&case.path("out/networkpolicies.yaml")),
            &traffic,
        );
        let got = Reach {
            answers,
            ..expected.clone()
        };
        if got != expected {
            wrong.push(format!("{}:\n{}", case.name, got.compared_to(&expected)));
        }
    }
    println!("{cells} packets judged");
    assert!(wrong.is_empty(), "by cyclonus' answers\n{}", wrong.concat());
}

/// Guards the harness: an engine that allows everything, or a table that is not read, would pass unnoticed.
#[test]
fn the_engine_distinguishes_allowed_from_denied() {
    let cluster = Cluster::read(&root().join("cluster.yaml"));
    let table = Reach::parse("from openbao-0:8200\nbuild/runner yes\nvault/toolbox -\n9.9.9.9 -\n");
    assert_eq!(table.answers, [true, false, false]);
    let answers = |ingress: &str| {
        let policy = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: one, namespace: vault}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Ingress], ingress: {ingress}}}\n"
        );
        ask(&cyclonus(), &policy, &table.traffic(&cluster))
    };
    assert_eq!(answers("[]"), [false, false, false]);
    assert_eq!(answers("[{}]"), [true, true, true], "a rule without `from`");
    assert_eq!(
        answers("[{from: []}]"),
        [true, true, true],
        "an empty `from` admits everybody"
    );
    assert_eq!(
        answers("[{from: [{podSelector: {}}]}]"),
        [false, true, false]
    );
    assert_eq!(
        answers("[{from: [{ipBlock: {cidr: 9.0.0.0/8}}]}]"),
        [false, false, true]
    );
    assert_eq!(
        answers("[{from: [{namespaceSelector: {}}], ports: [{port: http}]}]"),
        [true, true, false]
    );
}

/// The binary that `dev/tools install` brings, or the one that the environment names.
fn cyclonus() -> PathBuf {
    let path = env::var_os("VAULTWALL_CYCLONUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/cyclonus"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is missing: run `dev/tools install`",
        path.display()
    );
    path
}

/// Whether each packet passes, in order.
fn ask(cyclonus: &Path, policies: &str, traffic: &[Value]) -> Vec<bool> {
    let folder = tempfile::tempdir().unwrap();
    let policy_folder = folder.path().join("policies");
    fs::create_dir(&policy_folder).unwrap();
    for (index, policy) in documents(policies).iter().enumerate() {
        // One policy a file, as JSON, which is YAML: cyclonus reads no multi-document files.
        fs::write(
            policy_folder.join(format!("{index}.yaml")),
            policy.to_string(),
        )
        .unwrap();
    }
    let traffic_file = folder.path().join("traffic.json");
    fs::write(&traffic_file, Value::from(traffic.to_vec()).to_string()).unwrap();
    let output = Command::new(cyclonus)
        .args(["analyze", "--mode", "query-traffic", "--policy-path"])
        .arg(&policy_folder)
        .arg("--traffic-path")
        .arg(&traffic_file)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cyclonus: {stderr}{stdout}");
    let answers: Vec<_> = stdout
        .lines()
        .filter(|line| line.contains("IS ALLOWED?"))
        .map(|line| match line.split('|').nth(2).map(str::trim) {
            Some("TRUE") => true,
            Some("FALSE") => false,
            _ => panic!("not an answer of cyclonus': {line}"),
        })
        .collect();
    assert_eq!(
        answers.len(),
        traffic.len(),
        "cyclonus answered not every question: {stderr}{stdout}"
    );
    answers
}

/// The documents of a YAML file.
fn documents(text: &str) -> Vec<serde_json::Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// A `reach.txt`: sources down, ports across, `yes` or `-` in the cells.
#[derive(Clone, PartialEq)]
struct Reach {
    sources: Vec<String>,
    /// Pod in the vaults' namespace, and port.
    targets: Vec<(String, u16)>,
    /// Row by row.
    answers: Vec<bool>,
}

impl Reach {
    fn parse(text: &str) -> Self {
        let mut lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let mut header = lines.next().unwrap().split_whitespace();
        assert_eq!(header.next(), Some("from"));
        let targets: Vec<_> = header
            .map(|target| target.split_once(':').unwrap())
            .map(|(pod, port)| (pod.to_owned(), port.parse().unwrap()))
            .collect();
        let mut table = Self {
            sources: Vec::new(),
            targets,
            answers: Vec::new(),
        };
        for line in lines {
            let mut cells = line.split_whitespace();
            table.sources.push(cells.next().unwrap().to_owned());
            let answers: Vec<_> = cells
                .map(|cell| match cell {
                    "yes" => true,
                    "-" => false,
                    _ => panic!("`yes` or `-`: {line}"),
                })
                .collect();
            assert_eq!(
                answers.len(),
                table.targets.len(),
                "one cell for each target: {line}"
            );
            table.answers.extend(answers);
        }
        assert!(!table.answers.is_empty());
        table
    }

    /// One packet a cell, in cyclonus' JSON.
    fn traffic(&self, cluster: &Cluster) -> Vec<Value> {
        let packet = |source: &String, (pod, port): &(String, u16)| {
            let pod = format!("{VAULT_NAMESPACE}/{pod}");
            json!({
                "Source": cluster.peer(source),
                "Destination": cluster.peer(&pod),
                "Protocol": "TCP",
                "ResolvedPort": port,
                "ResolvedPortName": cluster.port_name(&pod, *port),
            })
        };
        self.sources
            .iter()
            .flat_map(|source| {
                self.targets
                    .iter()
                    .map(move |target| packet(source, target))
            })
            .collect()
    }

    /// The cells that differ, in words.
    fn compared_to(&self, expected: &Self) -> String {
        let targets = self.targets.len();
        let differs = |(index, (got, expected)): (usize, (&bool, &bool))| {
            let (pod, port) = &self.targets[index % targets];
            let source = &self.sources[index / targets];
            let verb = if *got { "reaches" } else { "does not reach" };
            (got != expected)
                .then(|| format!("  {source} {verb} {pod}:{port}, against reach.txt\n"))
        };
        self.answers
            .iter()
            .zip(&expected.answers)
            .enumerate()
            .filter_map(differs)
            .collect()
    }
}

/// Namespaces and pods of the golden cases.
struct Cluster {
    namespaces: BTreeMap<String, Namespace>,
    pods: BTreeMap<String, Pod>,
}

impl Cluster {
    fn read(path: &Path) -> Self {
        let mut cluster = Self {
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
        };
        for document in documents(&read(path)) {
            if document["kind"] == "Namespace" {
                let namespace: Namespace = serde_json::from_value(document).unwrap();
                cluster
                    .namespaces
                    .insert(namespace.metadata.name.clone().unwrap(), namespace);
            } else if document["kind"] == "Pod" {
                let pod: Pod = serde_json::from_value(document).unwrap();
                let metadata = &pod.metadata;
                let (namespace, name) = (metadata.namespace.as_ref(), metadata.name.as_ref());
                cluster
                    .pods
                    .insert(format!("{}/{}", namespace.unwrap(), name.unwrap()), pod);
            }
        }
        cluster
    }

    fn pod(&self, name: &str) -> &Pod {
        self.pods
            .get(name)
            .unwrap_or_else(|| panic!("no pod {name} in cluster.yaml"))
    }

    /// A pod `NAMESPACE/NAME`, or an address outside the cluster, as cyclonus' `TrafficPeer`.
    fn peer(&self, name: &str) -> Value {
        if name.parse::<Ipv4Addr>().is_ok() {
            return json!({"Internal": null, "IP": name});
        }
        let pod = self.pod(name);
        let namespace = pod.metadata.namespace.as_ref().unwrap();
        json!({
            "Internal": {
                "PodLabels": pod.metadata.labels.clone().unwrap_or_default(),
                "NamespaceLabels": self.namespaces[namespace].metadata.labels.clone().unwrap_or_default(),
                "Namespace": namespace,
            },
            "IP": pod.status.as_ref().unwrap().pod_ip,
        })
    }

    /// Name of the port in the pod's container; a policy may use it.
    fn port_name(&self, pod: &str, port: u16) -> String {
        let containers = &self.pod(pod).spec.as_ref().unwrap().containers;
        let mut ports = containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten());
        let named = ports.find(|named| named.container_port == i32::from(port));
        named
            .and_then(|named| named.name.clone())
            .unwrap_or_default()
    }
}
