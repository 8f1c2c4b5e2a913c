//! A vault's Service that selects other pods than before: those that it selected stay isolated.

use serde_json::{Value, json};

use crate::operator::enforcement::policy;
use crate::operator::objects::{all_there, writes};
use crate::operator::sandbox::Sandbox;
use testkit::wait::wait_for;

const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/vault/networkpolicies";

fn select(sandbox: &Sandbox, labels: &Value) {
    let service = "/api/v1/namespaces/vault/services/openbao";
    let edit = json!({"spec": {"selector": labels}}).to_string();
    let response = sandbox.server.request("PATCH", service, &edit).unwrap();
    assert_eq!(response.status, 200, "{response:?}");
}

/// Policies of the vault's pods other than the proxies: name, and the label `app` that it selects.
fn isolated(sandbox: &Sandbox) -> Option<Vec<(String, String)>> {
    let list = sandbox.server.get(POLICIES)?;
    let policies = list["items"].as_array()?.iter();
    let policies = policies.filter(|policy| policy["metadata"]["name"] != "openbao-firewall");
    let found = policies.map(|policy| {
        let [name, app] = [
            &policy["metadata"]["name"],
            &policy["spec"]["podSelector"]["matchLabels"]["app"],
        ];
        Some((name.as_str()?.to_owned(), app.as_str()?.to_owned()))
    });
    found.collect()
}

/// Waits until exactly the pods with these values of the label `app` are isolated; returns the names of the policies.
fn wait_for_isolated(sandbox: &Sandbox, apps: &[&str]) -> Vec<String> {
    wait_for(&format!("{apps:?} are isolated"), || {
        let mut found = isolated(sandbox)?;
        found.sort_by(|one, other| one.1.cmp(&other.1));
        let (names, found): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        (found == apps).then_some(names)
    })
}

fn warnings(sandbox: &Sandbox) -> Option<Vec<String>> {
    let policy = sandbox.policy("web")?;
    let warnings = policy["status"]["warnings"].as_array()?.iter();
    let earlier = warnings.filter(|warning| warning["reason"] == "EarlierPods");
    let messages = earlier.map(|warning| warning["message"].as_str().map(str::to_owned));
    messages.collect()
}

fn wait_for_warnings(sandbox: &Sandbox, texts: &[&str]) {
    wait_for(&format!("warnings of {texts:?}"), || {
        let warnings = warnings(sandbox)?;
        let are_expected = warnings.len() == texts.len()
            && texts
                .iter()
                .all(|text| warnings.iter().any(|warning| warning.contains(text)));
        are_expected.then_some(())
    });
}

#[test]
fn pods_that_a_service_does_not_select_any_more_stay_isolated() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    all_there(&sandbox);
    assert_eq!(wait_for_isolated(&sandbox, &["openbao"]), ["openbao-vault"]);
    wait_for_warnings(&sandbox, &[]);

    // By mistake, while the operator does not run.
    operator.stop();
    let before = writes(&sandbox).len();
    select(&sandbox, &json!({"app": "openboa"}));
    let operator = sandbox.operator_at("second", sandbox.operators);
    let names = wait_for_isolated(&sandbox, &["openbao", "openboa"]);
    assert_eq!(names[1], "openbao-vault");
    // The earlier pods first: at every moment a policy selects them.
    let written = writes(&sandbox).split_off(before);
    let written = written
        .iter()
        .filter(|write| write.starts_with("patch networkpolicies"));
    let expected = [&names[0], &names[1]].map(|name| format!("patch networkpolicies {name}"));
    assert!(written.eq(&expected), "{:?}", writes(&sandbox));
    wait_for_warnings(&sandbox, &["app=openbao before"]);

    // The policy of the earlier pods is kept as the others are.
    let path = format!("{POLICIES}/{}", names[0]);
    let spec = || Some(sandbox.server.get(&path)?["spec"].clone());
    let desired = spec().unwrap();
    let edit = json!({"spec": {"ingress": [{}], "podSelector": {"matchLabels": {"app": "none"}}}});
    let response = sandbox.server.request("PATCH", &path, &edit.to_string());
    assert_eq!(response.unwrap().status, 200);
    wait_for("the policy of the earlier pods is restored", || {
        (spec()? == desired).then_some(())
    });

    // A further change, and another operator.
    select(&sandbox, &json!({"app": "third"}));
    wait_for_isolated(&sandbox, &["openbao", "openboa", "third"]);
    operator.stop();
    let _operator = sandbox.operator_at("third", sandbox.operators);

    // Corrected: of the pods that are selected again, the vault's policy is enough.
    select(&sandbox, &json!({"app": "openbao"}));
    wait_for_warnings(&sandbox, &["app=openboa before", "app=third before"]);
    let names = wait_for_isolated(&sandbox, &["openbao", "openboa", "third"]);
    assert_eq!(names[0], "openbao-vault");

    // Deleted by somebody who knows that these pods are not the vault's.
    for name in &names[1..] {
        sandbox.kubectl(&["delete", "networkpolicy", "-n", "vault", name]);
    }
    wait_for_warnings(&sandbox, &[]);
    wait_for_isolated(&sandbox, &["openbao"]);
}
