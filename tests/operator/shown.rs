//! The files of `examples/`, applied as a reader would: their status, the generated objects, and the verdicts.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::operator::sandbox::{OTHER_POD, OUTSIDER, POD, Sandbox};
use testkit::client::Verdict::{self, Allowed, Denied};
use testkit::wait::{wait_for, wait_until};

/// A file, what becomes of it, and who gets in then.
struct Shown {
    file: &'static str,
    /// Its policies, each with the reasons of Accepted, `ResolvedRefs`, Programmed and Conflicted.
    policies: &'static [(&'static str, [(&'static str, &'static str); 4])],
    /// Returns the addresses in the `NetworkPolicy` of the proxies. Without `Drop` it has none, because the proxies
    /// answer every client.
    blocks: &'static [&'static str],
    clients: &'static [([u8; 4], Verdict)],
    /// Peers with the client that they name in `X-Forwarded-For`.
    forwarded: &'static [([u8; 4], &'static str, Verdict)],
}

const FINE: [(&str, &str); 4] = [
    ("True", "Accepted"),
    ("True", "ResolvedRefs"),
    ("True", "Programmed"),
    ("False", "NoConflicts"),
];

const SHOWN: [Shown; 6] = [
    Shown {
        file: "deny-all.yaml",
        policies: &[("deny-all", FINE)],
        blocks: &[],
        clients: &[(POD.octets(), Denied), (OUTSIDER.octets(), Denied)],
        forwarded: &[],
    },
    Shown {
        file: "drop.yaml",
        policies: &[("drop", FINE)],
        blocks: &["198.51.100.0/24"],
        clients: &[([127, 0, 30, 1], Allowed), (POD.octets(), Denied)],
        forwarded: &[],
    },
    Shown {
        file: "ingress.yaml",
        policies: &[("ingress", FINE)],
        blocks: &[],
        clients: &[([127, 0, 50, 1], Denied), (POD.octets(), Denied)],
        forwarded: &[
            ([127, 0, 50, 1], "198.51.100.9", Allowed),
            ([127, 0, 50, 1], "203.0.113.9", Denied),
            ([127, 0, 50, 2], "198.51.100.9", Denied),
        ],
    },
    Shown {
        file: "management-network-rules.yaml",
        policies: &[("management-network-rules", FINE)],
        blocks: &[],
        clients: &[([127, 0, 30, 1], Denied), (POD.octets(), Denied)],
        forwarded: &[],
    },
    Shown {
        file: "quickstart/policy.yaml",
        policies: &[("quickstart", FINE)],
        blocks: &[],
        clients: &[
            ([127, 0, 30, 1], Allowed),
            ([127, 0, 30, 9], Denied),
            ([127, 0, 10, 7], Allowed),
            ([127, 0, 11, 7], Denied),
            ([127, 0, 31, 1], Allowed),
            ([127, 0, 32, 1], Denied),
            ([127, 0, 30, 3], Denied),
        ],
        forwarded: &[],
    },
    Shown {
        file: "several-policies.yaml",
        policies: &[("owner", FINE), ("payments", FINE)],
        blocks: &[],
        clients: &[(OTHER_POD.octets(), Allowed), (POD.octets(), Denied)],
        forwarded: &[],
    },
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder().join(file)).unwrap();
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// Namespaces and pods of the quickstart's facts, the pods with what an API server wants to know besides.
fn apply_facts(sandbox: &Sandbox) {
    for mut object in documents("quickstart/facts.yaml") {
        let status = object.as_object_mut().unwrap().remove("status");
        match object["kind"].as_str().unwrap() {
            "Namespace" => sandbox.server.apply(&object.to_string()),
            "Pod" => {
                object["spec"] = json!({"containers": [{"name": "main", "image": "main"}]});
                sandbox.server.apply(&object.to_string());
                let mut status = status.unwrap();
                status["podIPs"] = json!([{"ip": status["podIP"]}]);
                let metadata = &object["metadata"];
                let (namespace, name) = (&metadata["namespace"], &metadata["name"]);
                sandbox.kubectl(&[
                    "patch",
                    "pod",
                    "-n",
                    namespace.as_str().unwrap(),
                    name.as_str().unwrap(),
                    "--subresource=status",
                    "--type=merge",
                    "-p",
                    &json!({"status": status}).to_string(),
                ]);
            }
            // The sandbox has the vault's.
            _ => {}
        }
    }
}

/// The policies one after the other, each in a second of its own, so that it is clear which one is older.
fn apply(sandbox: &Sandbox, file: &str) {
    for document in documents(file) {
        sandbox.server.apply(&document.to_string());
        let created = jiff::Timestamp::now().as_second();
        if file == "several-policies.yaml" {
            wait_for("the next second", || {
                (jiff::Timestamp::now().as_second() > created).then_some(())
            });
        }
    }
}

fn get(sandbox: &Sandbox, object: &str) -> Option<Value> {
    let arguments = ["get", object, "-n", "vault", "-o", "json"];
    serde_json::from_slice(&sandbox.server.kubectl(&arguments, "").stdout).ok()
}

/// Returns the owners of an object.
fn owners(object: &Value) -> Vec<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let mut names: Vec<&str> = owners
        .into_iter()
        .flatten()
        .map(|owner| owner["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// Every CIDR that is named below.
fn blocks(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(block) if name == "cidr" => vec![block.as_str()],
                value => blocks(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(blocks).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn examples_have_the_effects_that_they_describe() {
    let mut files: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.replace("quickstart", "quickstart/policy.yaml"))
        .collect();
    files.sort();
    assert_eq!(files, SHOWN.map(|shown| shown.file), "a row for each file");

    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    apply_facts(&sandbox);
    for label in [
        [
            "label",
            "ns",
            "build",
            "vaultwall.dev/service-endpoint=enabled",
        ],
        ["label", "ns", "shop", "vaultwall.dev/service-endpoint-"],
    ] {
        sandbox.kubectl(&label);
    }
    sandbox.kubectl(&["create", "ns", "payments"]);
    sandbox.kubectl(&[
        "label",
        "ns",
        "payments",
        "team=payments",
        "vaultwall.dev/service-endpoint=enabled",
    ]);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "till", "namespace": "payments"},
        "spec": {"containers": [{"name": "till", "image": "till"}]},
    });
    sandbox.server.apply(&pod.to_string());
    sandbox.kubectl(&[
        "delete",
        "pod",
        "-n",
        "shop",
        "batch",
        "--force",
        "--grace-period=0",
    ]);
    sandbox.server.set_running("payments", "till", OTHER_POD);

    let mut proxy = None;
    for shown in &SHOWN {
        println!("{}", shown.file);
        apply(&sandbox, shown.file);
        proxy.get_or_insert_with(|| sandbox.proxy());
        for (policy, conditions) in shown.policies {
            let kinds = ["Accepted", "ResolvedRefs", "Programmed", "Conflicted"];
            for (kind, (status, reason)) in kinds.iter().zip(conditions) {
                sandbox.condition(policy, kind, status, reason);
            }
        }
        let clients = shown.clients.iter();
        sandbox.wait_for_verdicts(
            &clients
                .map(|(address, verdict)| ((*address).into(), verdict.clone()))
                .collect::<Vec<_>>(),
        );
        for (peer, client, verdict) in shown.forwarded {
            let mut peer = sandbox.client((*peer).into());
            let header = format!("X-Forwarded-For: {client}\r\n");
            peer.headers.push_str(&header);
            let what = format!("{}: {verdict:?} through {}", shown.file, peer.source);
            wait_until(&what, || peer.verdict() == *verdict);
        }
        let mut names: Vec<&str> = shown.policies.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        for object in crate::operator::objects::GENERATED {
            // The second policy's name comes with the next write.
            wait_for(&format!("{}: {object} of {names:?}", shown.file), || {
                get(&sandbox, object).filter(|object| owners(object) == names)
            });
        }
        wait_for(&format!("{}: {:?}", shown.file, shown.blocks), || {
            let policy = get(&sandbox, "networkpolicy/openbao-firewall")?;
            (blocks(&policy["spec"]["ingress"]) == shown.blocks).then_some(())
        });
        sandbox.kubectl(&["delete", "vnp", "-n", "vault", "--all"]);
        sandbox.kubectl(&["delete", "vnet", "--all"]);
    }
}
