//! Fields of generated objects that other writers set: they are removed, however they were written, and nothing is
//! written without a change.

use serde_json::{Value, json};

use crate::operator::enforcement::policy;
use crate::operator::objects::{GENERATED, all_there, patches, writes};
use crate::operator::sandbox::Sandbox;
use testkit::wait::wait_for;

/// A field that another writer sets: the object, and a merge patch.
fn edits() -> Vec<(&'static str, Value)> {
    let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let peer = json!({"from": [{"podSelector": {"matchLabels": {"app": "other"}}}]});
    let ingress = json!({"spec": {"ingress": [peer, {}]}});
    vec![
        (
            "deployment/openbao-firewall",
            pod(json!({"initContainers": [{"name": "first", "image": "other"}]})),
        ),
        (
            "deployment/openbao-firewall",
            pod(json!({"hostNetwork": true})),
        ),
        (
            "deployment/openbao-firewall",
            pod(json!({"hostAliases": [{"ip": "203.0.113.1", "hostnames": ["openbao"]}]})),
        ),
        (
            "deployment/openbao-firewall",
            json!({"spec": {"paused": true, "template": {"metadata": {"labels": {"a": "b"}}}}}),
        ),
        (
            "service/openbao-firewall",
            json!({"spec": {"externalIPs": ["203.0.113.1"], "publishNotReadyAddresses": true}}),
        ),
        (
            "service/openbao-firewall",
            json!({"spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["203.0.113.0/24"]}}),
        ),
        (
            "service/openbao-firewall",
            json!({"spec": {"selector": {"a": "b"}, "sessionAffinity": "ClientIP"}}),
        ),
        ("networkpolicy/openbao-vault", ingress.clone()),
        ("networkpolicy/openbao-firewall", ingress),
        (
            "networkpolicy/openbao-vault",
            json!({"spec": {"policyTypes": ["Ingress", "Egress"]}}),
        ),
        (
            "secret/openbao-firewall",
            json!({"data": {"other.pem": "eA=="}}),
        ),
        (
            "configmap/openbao-firewall",
            json!({"data": {"other.json": "{}"}, "binaryData": {"other": "eA=="}}),
        ),
        (
            "serviceaccount/openbao-firewall",
            json!({"automountServiceAccountToken": true}),
        ),
        (
            "poddisruptionbudget/openbao-firewall",
            json!({"spec": {"maxUnavailable": 2, "selector": {"matchLabels": {"a": "b"}}}}),
        ),
    ]
}

/// Path of an object in the API.
fn path(object: &str) -> String {
    let (kind, name) = object.split_once('/').unwrap();
    let kinds = match kind {
        "deployment" => "apis/apps/v1/namespaces/vault/deployments",
        "networkpolicy" => "apis/networking.k8s.io/v1/namespaces/vault/networkpolicies",
        "poddisruptionbudget" => "apis/policy/v1/namespaces/vault/poddisruptionbudgets",
        _ => return format!("/api/v1/namespaces/vault/{kind}s/{name}"),
    };
    format!("/{kinds}/{name}")
}

/// Everything but metadata and status.
fn content(sandbox: &Sandbox, object: &str) -> Option<Value> {
    let mut content = sandbox.server.get(&path(object))?;
    let fields = content.as_object_mut()?;
    fields.retain(|field, _| field != "metadata" && field != "status");
    Some(content)
}

/// Changes an object by an update, which makes its writer the manager of the changed fields.
fn update(sandbox: &Sandbox, object: &str, edit: &Value) {
    let server = &sandbox.server;
    let response = server.request("PATCH", &path(object), &edit.to_string());
    let response = response.unwrap();
    assert_eq!(response.status, 200, "{object} {edit}: {response:?}");
}

/// Changes an object by a server-side apply.
fn apply(sandbox: &Sandbox, object: &str, edit: &Value) {
    let mut applied = edit.clone();
    for field in ["apiVersion", "kind"] {
        applied[field] = content(sandbox, object).unwrap()[field].clone();
    }
    let (_, name) = object.split_once('/').unwrap();
    applied["metadata"] = json!({"name": name, "namespace": "vault"});
    let apply = "apply --server-side --force-conflicts --field-manager=tests -f -";
    let arguments: Vec<&str> = apply.split(' ').collect();
    let output = sandbox.server.kubectl(&arguments, &applied.to_string());
    assert!(output.status.success(), "{object} {edit}: {output:?}");
}

/// Writes of one object by the operator.
fn written(sandbox: &Sandbox, object: &str) -> usize {
    let which = GENERATED.iter().position(|generated| *generated == object);
    patches(&writes(sandbox))[which.unwrap()]
}

/// Waits until an edit is reverted, by one write.
fn assert_reverted(sandbox: &Sandbox, object: &str, edit: &Value, write: impl FnOnce()) {
    let desired = content(sandbox, object).unwrap();
    let before = written(sandbox, object);
    write();
    wait_for(&format!("{object} without {edit}"), || {
        let is_written = written(sandbox, object) > before;
        (is_written && content(sandbox, object)? == desired).then_some(())
    });
    let writes = written(sandbox, object) - before;
    assert_eq!(writes, 1, "writes of {object} after {edit}");
}

#[test]
fn fields_that_others_add_are_removed() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    all_there(&sandbox);
    sandbox.condition("web", "Programmed", "Unknown", "NoProxies");
    for (object, edit) in edits() {
        for write in [update, apply] {
            assert_reverted(&sandbox, object, &edit, || write(&sandbox, object, &edit));
        }
    }
    // One write for its creation, and one for each edit.
    let edits = edits();
    let expected =
        GENERATED.map(|object| 1 + 2 * edits.iter().filter(|(of, _)| *of == object).count());
    assert_eq!(patches(&writes(&sandbox)), expected);
}

#[test]
fn what_others_may_set_stays() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    all_there(&sandbox);
    sandbox.condition("web", "Programmed", "Unknown", "NoProxies");
    let restarted = json!({"kubectl.kubernetes.io/restartedAt": "now"});
    let edits = [
        (
            "deployment/openbao-firewall",
            json!({"spec": {"template": {"metadata": {"annotations": restarted}}}}),
        ),
        (
            "serviceaccount/openbao-firewall",
            json!({"imagePullSecrets": [{"name": "registry"}]}),
        ),
        (
            "service/openbao-firewall",
            json!({"metadata": {"annotations": {"a": "b"}, "finalizers": ["example.com/a"]}}),
        ),
    ];
    for (object, edit) in &edits {
        update(&sandbox, object, edit);
    }
    let before: Vec<_> = edits
        .iter()
        .map(|(object, _)| sandbox.server.get(&path(object)))
        .collect();
    // A write after those edits: the operator has seen them. Also by one that has not written the objects itself.
    let secret = "secret/openbao-firewall";
    let file = json!({"data": {"other.pem": "eA=="}});
    let repair = || assert_reverted(&sandbox, secret, &file, || update(&sandbox, secret, &file));
    repair();
    operator.stop();
    let _operator = sandbox.operator_at("second", sandbox.operators);
    repair();
    let written = patches(&writes(&sandbox));
    assert_eq!(written, [1, 1, 1, 3, 1, 1, 1, 1]);
    let after: Vec<_> = edits
        .iter()
        .map(|(object, _)| sandbox.server.get(&path(object)))
        .collect();
    assert_eq!(before, after);
}
