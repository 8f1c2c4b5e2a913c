//! The status of trusted services in a real cluster.

use serde_json::{Value, json};
use testkit::key_server::Behaviour;
use testkit::wait::wait_for_ok;
use testkit::{Issuer, KeyServer};

use crate::operator::sandbox::Sandbox;

/// A service with one identity.
fn service(name: &str, identity: &Value) -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "TrustedService",
        "metadata": {"name": name},
        "spec": {
            "scenarios": [{"name": "read", "operations": ["secrets/get"]}],
            "identities": [identity],
        },
    })
}

fn account(name: &str) -> Value {
    json!({"serviceAccount": {"namespace": "shop", "name": name}})
}

/// Waits until the status of a service contains these values, by JSON pointers.
fn wait_for(sandbox: &Sandbox, service: &str, expected: &[(&str, Value)]) -> Value {
    let path = format!("/apis/vaultwall.dev/v1alpha1/trustedservices/{service}");
    wait_for_ok(&format!("{service}: {expected:?}"), || {
        let status = sandbox.server.get(&path).unwrap()["status"].clone();
        for (pointer, value) in expected {
            if status.pointer(pointer).unwrap_or(&Value::Null) != value {
                return Err(format!("{pointer}: {status}"));
            }
        }
        Ok(status)
    })
}

const READY: &str = "/conditions/1/status";
const REASON: &str = "/conditions/1/reason";

#[test]
fn the_status_shows_each_identity_its_pods_and_the_policies() {
    let sandbox = Sandbox::new();
    sandbox
        .server
        .apply(&service("reports", &account("reporter")).to_string());
    wait_for(&sandbox, "reports", &[(READY, json!("Unknown"))]);
    let _operator = sandbox.operator();
    let status = wait_for(
        &sandbox,
        "reports",
        &[
            (READY, json!("False")),
            (REASON, json!("ServiceAccountNotFound")),
        ],
    );
    assert_eq!(status["conditions"][0]["status"], "True", "{status}");
    assert_eq!(
        status["identities"][0]["identity"],
        "serviceAccount shop/reporter"
    );

    // The account, a pod that runs under it, and a policy that lets the service in.
    sandbox.server.apply(
        &json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"namespace": "shop", "name": "reporter"},
        })
        .to_string(),
    );
    let expected = [
        (READY, json!("True")),
        ("/identities/0/serviceAccounts", json!(1)),
        ("/identities/0/reason", Value::Null),
    ];
    wait_for(&sandbox, "reports", &expected);
    sandbox.server.apply(
        &json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": "reporter"},
            "spec": {"serviceAccountName": "reporter", "containers": [{"name": "app", "image": "app"}]},
        })
        .to_string(),
    );
    sandbox
        .server
        .set_running("shop", "reporter", "10.20.30.40".parse().unwrap());
    sandbox.server.apply(
        &json!({
            "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
            "metadata": {"namespace": "vault", "name": "web"},
            "spec": {
                "targetRef": {"name": "openbao", "port": 8200},
                "bypass": "TrustedServices", "trustedServices": {"names": ["reports"]},
            },
        })
        .to_string(),
    );
    let expected = [
        ("/pods", json!(1)),
        ("/identities/0/namespaces", json!(["shop"])),
        ("/policies", json!(["vault/web"])),
        ("/policyCount", json!(1)),
    ];
    wait_for(&sandbox, "reports", &expected);

    // Another service with the same account concerns both.
    sandbox
        .server
        .apply(&service("other", &account("reporter")).to_string());
    for name in ["reports", "other"] {
        let shared = ("/identities/0/reason", json!("SharedByServices"));
        wait_for(&sandbox, name, &[shared, (READY, json!("True"))]);
    }
}

#[test]
fn an_invalid_edit_keeps_the_last_valid_generation() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    let mut edited = service("reports", &account("reporter"));
    sandbox.server.apply(&edited.to_string());
    wait_for(&sandbox, "reports", &[("/scenarios", json!(1))]);
    // The API server does not compare the names of scenarios.
    let scenario = edited["spec"]["scenarios"][0].clone();
    edited["spec"]["scenarios"] = json!([scenario, scenario]);
    sandbox.server.apply(&edited.to_string());
    let status = wait_for(
        &sandbox,
        "reports",
        &[(REASON, json!("Invalid")), ("/scenarios", Value::Null)],
    );
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "generation 2 is rejected as a whole, and its last valid generation stays in force."
        ) && message.contains("\nspec.scenarios[1].name: "),
        "{message}"
    );
}

#[test]
fn the_status_says_since_when_and_why_keys_are_not_fetched() {
    let sandbox = Sandbox::new();
    let issuer = Issuer::new("https://partner.example", "one");
    let keys = KeyServer::start(Behaviour::Status(503));
    let _operator = sandbox.operator_that_trusts(&keys.authority);
    let credential = json!({"federatedCredential": {
        "issuer": issuer.url, "subject": "repo:app", "audiences": ["vault"], "jwksUri": keys.url(),
    }});
    let policy = json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
        "metadata": {"namespace": "vault", "name": "web"},
        "spec": {"targetRef": {"name": "openbao", "port": 8200}, "bypass": "TrustedServices"},
    });
    let objects = [service("reports", &credential), policy];
    sandbox
        .server
        .apply(&objects.map(|object| object.to_string()).join("\n---\n"));

    let reason = |reason: &str| ("/identities/0/reason", json!(reason));
    let cause = |status: &Value| {
        let message = status["identities"][0]["message"].as_str().unwrap();
        let (since, cause) = message.split_once(": ").unwrap();
        let prefix = format!("the keys at {} could not be fetched since ", keys.url());
        let since = since
            .strip_prefix(&prefix)
            .unwrap_or_else(|| panic!("{message}"));
        assert!(since.parse::<jiff::Timestamp>().is_ok(), "{message}");
        cause.to_owned()
    };
    wait_for_ok("the cause", || {
        let expected = [(READY, json!("False")), reason("KeysNotFetched")];
        let status = wait_for(&sandbox, "reports", &expected);
        let message = status["identities"][0]["message"].to_string();
        if message.contains("since") {
            assert!(cause(&status).starts_with("it answers 503"), "{status}");
            Ok(())
        } else {
            Err(message)
        }
    });

    keys.set(Behaviour::Document(issuer.jwks()));
    let expected = [
        (READY, json!("True")),
        ("/identities/0/reason", Value::Null),
    ];
    let status = wait_for(&sandbox, "reports", &expected);
    let used = status["identities"][0]["keys"].clone();
    assert!(used.is_string(), "{status}");

    keys.set(Behaviour::Status(404));
    let expected = [(READY, json!("True")), reason("KeysNotConfirmed")];
    let status = wait_for(&sandbox, "reports", &expected);
    assert!(cause(&status).starts_with("it answers 404"), "{status}");
    assert_eq!(status["identities"][0]["keys"], used, "{status}");
}
