//! Watches that are interrupted in the middle of changes: what is reached then is what an operator reaches that saw
//! nothing of it.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::operator::enforcement::policy;
use crate::operator::objects::GENERATED;
use crate::operator::sandbox::{OTHER_POD, OUTSIDER, Operator, POD, Sandbox};
use testkit::client::Verdict::{self, Allowed, Denied};
use testkit::wait::wait_for;

/// Compacts etcd: removes every earlier version of all objects.
pub(crate) fn compact(sandbox: &Sandbox) {
    let now = sandbox.server.etcd("/v3/kv/range", &json!({"key": "AA=="}));
    let revision = &now["header"]["revision"];
    let body = json!({"revision": revision, "physical": true});
    sandbox.server.etcd("/v3/kv/compaction", &body);
}

/// The version of the last snapshot, once its listeners have followed the addresses.
fn version(operator: &Operator) -> String {
    wait_for("a snapshot of which nothing waits", || {
        let log = operator.log();
        let changed = log
            .lines()
            .rev()
            .find(|line| line.contains("firewall of"))?;
        if changed.contains("listeners_wait=true") {
            return None;
        }
        let version = changed.split("version=").nth(1)?;
        Some(version.split(' ').next()?.to_owned())
    })
}

/// Returns the objects of the cluster without the fields that change by themselves.
fn objects(sandbox: &Sandbox) -> Vec<Value> {
    let get = |object: &str| -> Value {
        let mut object: Value =
            serde_json::from_str(&sandbox.kubectl(&["get", object, "-n", "vault", "-o", "json"]))
                .unwrap();
        for field in ["managedFields", "resourceVersion"] {
            object["metadata"].as_object_mut().unwrap().remove(field);
        }
        object
    };
    let mut objects: Vec<Value> = GENERATED.iter().map(|object| get(object)).collect();
    let policies = get("vnp");
    for policy in policies["items"].as_array().unwrap() {
        let mut status = policy["status"].clone();
        for condition in status["conditions"].as_array_mut().unwrap() {
            condition
                .as_object_mut()
                .unwrap()
                .remove("lastTransitionTime");
        }
        objects.push(json!([policy["metadata"]["name"], policy["spec"], status]));
    }
    objects
}

fn settled(sandbox: &Sandbox, policies: &[&str], verdicts: &[(Ipv4Addr, Verdict)]) {
    sandbox.wait_for_verdicts(verdicts);
    for policy in policies {
        sandbox.condition(policy, "Programmed", "True", "Programmed");
    }
    // Owners come with the last write.
    wait_for("objects of these policies", || {
        let names = "jsonpath={.metadata.ownerReferences[*].name}";
        let last = GENERATED.iter().all(|object| {
            let owners = sandbox.kubectl(&["get", object, "-n", "vault", "-o", names]);
            let mut owners: Vec<&str> = owners.split(' ').collect();
            owners.sort_unstable();
            owners == policies
        });
        last.then_some(())
    });
}

/// An operator in place of this one comes to the same.
fn is_what_another_comes_to(
    sandbox: &Sandbox,
    operator: Operator,
    name: &str,
    verdicts: &[(Ipv4Addr, Verdict)],
) -> Operator {
    let (version_before, before) = (version(&operator), objects(sandbox));
    operator.stop();
    let other = sandbox.operator_at(name, sandbox.operators);
    other.wait_for_log("this replica leads");
    other.wait_for_programmed_proxy();
    sandbox.wait_for_verdicts(verdicts);
    assert_eq!(version_before, version(&other), "{name}");
    // Until the proxy was there again, it was not known what it enforces.
    let mut after = Vec::new();
    for _ in 0..20 {
        after = objects(sandbox);
        if after == before {
            return other;
        }
    }
    assert_eq!(before, after, "{name}");
    other
}

#[test]
fn interrupted_watches_lose_nothing() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let _proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);

    // The API server dies and comes back, and everything is changed before the watches are there again.
    sandbox.server.stop();
    sandbox.server.restart();
    sandbox.server.apply(&policy("batch", "batch"));
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "web"]);
    sandbox.server.apply(&policy("third", "third"));
    sandbox.kubectl(&[
        "label",
        "pod",
        "-n",
        "shop",
        "web",
        "app=third",
        "--overwrite",
    ]);
    sandbox.server.set_running("shop", "batch", OUTSIDER);
    let verdicts = [(POD, Allowed), (OTHER_POD, Denied), (OUTSIDER, Allowed)];
    settled(&sandbox, &["batch", "third"], &verdicts);
    let mut operator = is_what_another_comes_to(&sandbox, operator, "second", &verdicts);

    // The operator is paused while everything is changed and the history is compacted: its watches start again (410).
    operator.pause();
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "third"]);
    sandbox.server.apply(&policy("fourth", "fourth"));
    sandbox.kubectl(&[
        "delete",
        "pod",
        "-n",
        "shop",
        "web",
        "--force",
        "--grace-period=0",
    ]);
    sandbox.kubectl(&[
        "label",
        "pod",
        "-n",
        "shop",
        "batch",
        "app=fourth",
        "--overwrite",
    ]);
    sandbox.server.set_running("shop", "batch", OTHER_POD);
    sandbox.kubectl(&["delete", "service/openbao-firewall", "-n", "vault"]);
    compact(&sandbox);
    sandbox.server.stop();
    sandbox.server.restart();
    let renewed = || {
        let time = "jsonpath={.spec.renewTime}";
        sandbox.kubectl(&[
            "get",
            "lease",
            "-n",
            "vaultwall-system",
            "vaultwall",
            "-o",
            time,
        ])
    };
    let before = renewed();
    operator.resume();
    let verdicts = [(POD, Denied), (OTHER_POD, Allowed), (OUTSIDER, Denied)];
    sandbox.wait_for_verdicts(&verdicts);
    operator.wait_for_log("too old resource version");
    // Where the API server takes long to start, the lease is lost, and a Deployment would start the operator again.
    let lost = wait_for("the lease is renewed or lost", || {
        let lost = operator.has_ended();
        (lost || renewed() != before).then_some(lost)
    });
    if lost {
        operator = sandbox.operator_at("again", sandbox.operators);
    }
    settled(&sandbox, &["batch", "fourth"], &verdicts);
    is_what_another_comes_to(&sandbox, operator, "third", &verdicts);
}
