//! Objects that the operator leaves unchanged when it restarts or when they are not its own, and those that it
//! deletes.

use serde_json::{Value, json};

use crate::operator::enforcement::policy;
use crate::operator::objects::{GENERATED, get, patches, writes};
use crate::operator::sandbox::{OTHER_POD, POD, Sandbox};
use testkit::client::Verdict::{Allowed, Denied};
use testkit::wait::wait_for;

/// A policy that admission takes and the operator does not.
fn too_wide(name: &str) -> String {
    let rules: Vec<Value> = (0..128)
        .map(|n| json!({"value": format!("203.0.113.{n}")}))
        .collect();
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": name, "namespace": "vault"},
        "spec": {"targetRef": {"name": "openbao", "port": 8200}, "ipRules": rules},
    })
    .to_string()
}

fn programmed_since(sandbox: &Sandbox, policy: &str) -> Value {
    let policy = get(sandbox, &format!("vnp/{policy}")).unwrap();
    let conditions = policy["status"]["conditions"].as_array().unwrap();
    let programmed = conditions
        .iter()
        .find(|condition| condition["type"] == "Programmed");
    programmed.unwrap()["lastTransitionTime"].clone()
}

#[test]
fn an_operator_that_starts_again_writes_nothing() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    sandbox.server.apply(&policy("batch", "batch"));
    let _proxy = sandbox.proxy();
    for name in ["web", "batch"] {
        sandbox.condition(name, "Programmed", "True", "Programmed");
    }
    let since = programmed_since(&sandbox, "web");
    operator.stop();
    let before = writes(&sandbox).len();

    let operator = sandbox.operator_at("again", sandbox.operators);
    operator.wait_for_programmed_proxy();
    // It is busy with a third policy, after everything else was looked at: of that come each object's third owner and
    // the third status, and nothing else.
    sandbox.server.apply(&policy("third", "third"));
    sandbox.condition("third", "Programmed", "True", "Programmed");
    let new = writes(&sandbox).split_off(before);
    assert_eq!(patches(&new), [1; GENERATED.len()], "{new:#?}");
    let of_status = |name: &str| {
        let write = format!("update vaultnetworkpolicies/status {name}");
        new.iter().filter(|new| **new == write).count()
    };
    assert_eq!((of_status("web"), of_status("batch")), (0, 0), "{new:#?}");
    assert_eq!(since, programmed_since(&sandbox, "web"));
}

#[test]
fn fields_that_a_policy_no_longer_sets_are_removed() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    let mut web: Value = serde_saphyr::from_str(&policy("web", "web")).unwrap();
    web["spec"]["proxy"] = json!({
        "replicas": 3,
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
        "service": {"annotations": {"example.com/internet-facing": "true"}},
    });
    sandbox.server.apply(&web.to_string());
    let annotation =
        |service: &Value| service["metadata"]["annotations"]["example.com/internet-facing"].clone();
    let limits = |deployment: &Value| {
        deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"].clone()
    };
    wait_for("what it says", || {
        let service = get(&sandbox, "service/openbao-firewall")?;
        let deployment = get(&sandbox, "deployment/openbao-firewall")?;
        (annotation(&service) == "true" && limits(&deployment)["cpu"] == "1").then_some(())
    });
    web["spec"]["proxy"] = json!({"replicas": 3, "resources": {"limits": {"memory": "512Mi"}}});
    sandbox.server.apply(&web.to_string());
    wait_for("what it still says", || {
        let service = get(&sandbox, "service/openbao-firewall")?;
        let deployment = get(&sandbox, "deployment/openbao-firewall")?;
        let is_so = annotation(&service).is_null()
            && limits(&deployment) == json!({"memory": "512Mi"})
            && deployment["spec"]["replicas"] == 3;
        is_so.then_some(())
    });
}

#[test]
fn objects_of_other_owners_are_left_alone() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "openbao-firewall", "namespace": "vault"},
        "stringData": {"password": "theirs"},
    });
    sandbox.server.apply(&theirs.to_string());
    let before = get(&sandbox, "secret/openbao-firewall").unwrap();
    sandbox.server.apply(&policy("web", "web"));
    let message = sandbox.condition("web", "Programmed", "False", "ApplyFailed");
    assert!(
        message.contains("Secret vault/openbao-firewall exists already")
            && message.contains("app.kubernetes.io/managed-by=vaultwall"),
        "{message}"
    );
    assert_eq!(before, get(&sandbox, "secret/openbao-firewall").unwrap());
    sandbox.kubectl(&["delete", "secret", "-n", "vault", "openbao-firewall"]);
    let _proxy = sandbox.proxy();
    sandbox.condition("web", "Programmed", "True", "Programmed");
}

#[test]
fn a_deleted_policy_takes_its_rules_along_although_an_invalid_one_stays() {
    let sandbox = Sandbox::with_lax_admission();
    let _operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let _proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);
    sandbox.server.apply(&too_wide("wide"));
    sandbox.condition("wide", "Accepted", "False", "Invalid");
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "web"]);
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Denied)]);
}

#[test]
fn a_refused_edit_and_a_restart_keep_tls() {
    let sandbox = Sandbox::with_lax_admission();
    let operator = sandbox.operator();
    let mut web: Value = serde_saphyr::from_str(&policy("web", "web")).unwrap();
    web["spec"]["proxy"] = json!({
        "tls": {"secretName": "clients"},
        "upstreamTls": {"caSecretName": "vault"},
    });
    sandbox.server.apply(&web.to_string());
    sandbox.condition("web", "Programmed", "Unknown", "NoProxies");
    // Arguments of the proxies, and the Secrets that they mount.
    let now = || {
        ["configmap/openbao-firewall", "deployment/openbao-firewall"].map(|object| {
            let object = get(&sandbox, object).unwrap();
            [object["data"].clone(), object["spec"].clone()]
        })
    };
    let before = now();
    assert!(before[0][0]["sds-clients.json"].is_string(), "{before:?}");
    operator.stop();
    sandbox.server.apply(&too_wide("web"));
    let _operator = sandbox.operator_at("second", sandbox.operators);
    sandbox.condition("web", "Accepted", "False", "Invalid");
    assert_eq!(now(), before);
    let policy = get(&sandbox, "vnp/web").unwrap();
    let warnings = policy["status"]["warnings"].to_string();
    assert!(!warnings.contains("PlainHttp"), "{warnings}");
}

#[test]
fn a_refused_edit_and_a_restart_change_nothing() {
    let sandbox = Sandbox::with_lax_admission();
    let operator = sandbox.operator();
    let mut web: Value = serde_saphyr::from_str(&policy("web", "web")).unwrap();
    web["spec"]["proxy"] = json!({"replicas": 3});
    sandbox.server.apply(&web.to_string());
    let proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);
    operator.stop();
    sandbox.server.apply(&too_wide("web"));
    let _operator = sandbox.operator_at("second", sandbox.operators);
    let message = sandbox.condition("web", "Accepted", "False", "Invalid");
    assert!(
        message.contains("proxies keep their previous rules"),
        "{message}"
    );
    // The earlier rules and settings are only in the running proxies now.
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);
    let deployment = get(&sandbox, "deployment/openbao-firewall").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
    drop(proxy);
    let _cold = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Denied)]);
}
