//! Objects that the operator keeps in the cluster for a vault: all of them, as desired, and without a needless write.

use serde_json::{Value, json};

use crate::operator::enforcement::policy;
use crate::operator::sandbox::{OPERATOR, Sandbox};
use testkit::wait::wait_for;

/// Generated objects of a vault's firewall, as kubectl names them.
pub(crate) const GENERATED: [&str; 8] = [
    "networkpolicy/openbao-vault",
    "networkpolicy/openbao-firewall",
    "serviceaccount/openbao-firewall",
    "secret/openbao-firewall",
    "configmap/openbao-firewall",
    "service/openbao-firewall",
    "deployment/openbao-firewall",
    "poddisruptionbudget/openbao-firewall",
];

pub(crate) fn get(sandbox: &Sandbox, object: &str) -> Option<Value> {
    let answer = sandbox
        .server
        .kubectl(&["get", object, "-n", "vault", "-o", "json"], "");
    serde_json::from_slice(&answer.stdout).ok()
}

/// Waits until all objects exist, and returns them.
pub(crate) fn all_there(sandbox: &Sandbox) -> Vec<Value> {
    let read = |object: &&str| wait_for(object, || get(sandbox, object));
    GENERATED.iter().map(read).collect()
}

/// Returns the writes of the operator other than those of the lease, each as verb, kind and name.
pub(crate) fn writes(sandbox: &Sandbox) -> Vec<String> {
    let writes = sandbox.server.writes(OPERATOR).into_iter();
    let writes = writes.filter(|record| record.resource != "leases");
    writes
        .map(|record| format!("{} {} {}", record.verb, record.resource, record.name))
        .collect()
}

/// How often each of the [`GENERATED`] was patched.
pub(crate) fn patches(writes: &[String]) -> [usize; GENERATED.len()] {
    GENERATED.map(|object| {
        let (kind, name) = object.split_once('/').unwrap();
        let plural = match kind.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{kind}s"),
        };
        let patched = format!("patch {plural} {name}");
        writes.iter().filter(|write| **write == patched).count()
    })
}

#[test]
fn all_objects_are_made_once_and_come_back() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let made = all_there(&sandbox);
    for object in &made {
        let owner = &object["metadata"]["ownerReferences"][0];
        assert_eq!(owner["kind"], "VaultNetworkPolicy", "{object:#}");
        assert_eq!(owner["name"], "web", "{object:#}");
    }
    sandbox.condition("web", "Programmed", "Unknown", "NoProxies");
    let writes = writes(&sandbox);
    assert_eq!(patches(&writes), [1; GENERATED.len()], "{writes:#?}");

    // Deleted objects come back.
    for object in GENERATED {
        let uid = get(&sandbox, object).unwrap()["metadata"]["uid"].clone();
        sandbox.kubectl(&["delete", object, "-n", "vault", "--wait=false"]);
        wait_for(object, || {
            get(&sandbox, object).filter(|object| object["metadata"]["uid"] != uid)
        });
    }
    // Their fields are restored: a way around the vault's NetworkPolicy is closed again.
    let desired = get(&sandbox, "networkpolicy/openbao-vault").unwrap()["spec"].clone();
    let patch = r#"[{"op": "add", "path": "/spec/ingress/-", "value": {}}]"#;
    sandbox.kubectl(&[
        "patch",
        "networkpolicy/openbao-vault",
        "-n",
        "vault",
        "--type=json",
        "-p",
        patch,
    ]);
    wait_for("the vault's NetworkPolicy is as desired again", || {
        get(&sandbox, "networkpolicy/openbao-vault").filter(|object| object["spec"] == desired)
    });
    sandbox.kubectl(&[
        "scale",
        "deployment/openbao-firewall",
        "-n",
        "vault",
        "--replicas=0",
    ]);
    wait_for("the proxies are back", || {
        get(&sandbox, "deployment/openbao-firewall")
            .filter(|object| object["spec"]["replicas"] == 2)
    });
}

#[test]
fn a_policy_that_passed_admission_by_mistake_opens_nothing_and_has_the_reason() {
    let sandbox = Sandbox::with_lax_admission();
    let _operator = sandbox.operator();
    let rules: Vec<String> = (0..128)
        .map(|n| format!("{{value: 203.0.113.{n}}}"))
        .collect();
    sandbox.server.apply(&format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: wide, namespace: \
            vault}}\nspec:\n  \
         targetRef: {{name: openbao, port: 8200}}\n  defaultAction: Allow\n  ipRules: [{}]\n",
        rules.join(", ")
    ));
    let message = sandbox.condition("wide", "Accepted", "False", "Invalid");
    assert!(
        message.contains("spec.ipRules") && message.contains("127"),
        "{message}"
    );
    let _proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[
        (
            crate::operator::sandbox::POD,
            testkit::client::Verdict::Denied,
        ),
        (
            crate::operator::sandbox::OUTSIDER,
            testkit::client::Verdict::Denied,
        ),
    ]);
}

#[test]
fn a_service_that_cannot_be_protected_is_named() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    let to = |service: &str, port: u16| {
        let text = policy("web", "web").replace("openbao", service);
        sandbox
            .server
            .apply(&text.replace("8200", &port.to_string()));
    };
    to("nowhere", 8200);
    let message = sandbox.condition("web", "ResolvedRefs", "False", "TargetNotFound");
    assert!(message.contains("nowhere"), "{message}");
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "web"]);
    to("openbao", 8201);
    let message = sandbox.condition("web", "ResolvedRefs", "False", "PortNotFound");
    assert!(message.contains("8200"), "{message}");
    to("openbao", 8200);
    sandbox.condition("web", "ResolvedRefs", "True", "ResolvedRefs");
    all_there(&sandbox);
}

#[test]
fn a_deployment_that_does_not_get_on_is_warned_of() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let _proxy = sandbox.proxy();
    sandbox.condition("web", "Programmed", "True", "Programmed");
    let progressing = |status: &str, message: &str| {
        let reason = if status == "True" {
            "ReplicaSetUpdated"
        } else {
            "ProgressDeadlineExceeded"
        };
        let conditions = json!([{
            "type": "Progressing", "status": status, "reason": reason, "message": message,
        }]);
        let patch = json!({"status": {"conditions": conditions}}).to_string();
        let deployment = "deployment/openbao-firewall";
        let what = ["patch", deployment, "-n", "vault", "--subresource=status"];
        let how = ["--type=merge", "--patch", &patch];
        sandbox.server.kubectl_prints(&[&what[..], &how].concat());
    };
    let warned = || {
        let policy = get(&sandbox, "vnp/web")?;
        let warnings = policy["status"]["warnings"].as_array()?;
        let found = warnings
            .iter()
            .find(|warning| warning["reason"] == "ProxiesNotReplaced")?;
        Some(found["message"].as_str()?.to_owned())
    };
    progressing("True", "ReplicaSet is progressing.");
    progressing("False", "ReplicaSet has timed out progressing.");
    let words = wait_for("the warning", warned);
    assert!(
        words.ends_with("reports: ReplicaSet has timed out progressing."),
        "{words}"
    );
    progressing("True", "ReplicaSet has successfully progressed.");
    wait_for("no warning", || warned().is_none().then_some(()));
    // None of it is the operator's to repair.
    assert_eq!(patches(&writes(&sandbox)), [1; GENERATED.len()]);
}
