//! Identities, in trusted services and in policies.

use serde_json::{Value, json};

use super::trusted_services::service;
use super::{found, policy};
use crate::policy::{KeySource, ServiceIdentity};

fn account(namespace: &str, name: &str) -> Value {
    json!({"serviceAccount": {"namespace": namespace, "name": name}})
}

fn registered(name: &str) -> Value {
    json!({"registeredResource": {"serviceAccountName": name}})
}

/// A federated credential with some fields replaced; null removes one.
fn federated(changes: &Value) -> Value {
    let mut credential = json!({
        "issuer": "https://tokens.example.com", "subject": "repo:shop/app", "audiences": ["vault"],
        "jwksUri": "https://tokens.example.com/keys",
    });
    let fields = credential.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        fields.insert(field.clone(), value.clone());
    }
    fields.retain(|_, value| !value.is_null());
    json!({"federatedCredential": credential})
}

fn jwks(id: &str) -> Value {
    json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": id,
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]})
}

/// Violations of a service with these identities, without the list's path.
fn of(identities: &Value) -> Vec<String> {
    let violations = found(service(&[("spec.identities", identities.clone())]));
    violations.iter().map(|violation| violation.replace("spec.identities", "")).collect()
}

#[test]
fn each_kind_of_identity_is_read() {
    let identities = json!([
        account("sql", "tde.v2"), registered("backup-agent"), federated(&json!({"audiences": ["b", "a"]})),
    ]);
    let service = service(&[("spec.identities", identities.clone())]).unwrap();
    let shown: Vec<String> = service.identities.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [
        "serviceAccount sql/tde.v2",
        "registeredResource backup-agent",
        "federatedCredential https://tokens.example.com repo:shop/app",
    ]);
    let ServiceIdentity::FederatedCredential(credential) = &service.identities[2] else { panic!("{shown:?}") };
    assert_eq!(credential.keys, KeySource::Url("https://tokens.example.com/keys".into()));
    assert!(credential.audiences.iter().eq(["a", "b"]));
    // A policy lists them in the same form, but no URL: its owner must not choose what the operator connects to.
    let lists = |operators: Value| {
        let deployers = json!([registered("ci")]);
        policy(&[("spec.management.operators", operators), ("spec.management.deployers", deployers)])
    };
    let url = "spec.management.operators[2].federatedCredential.jwksUri Invalid";
    assert_eq!(found(lists(identities)), [url]);
    let inline = federated(&json!({"jwksUri": null, "jwks": jwks("1")}));
    let policy = lists(json!([account("sql", "tde.v2"), inline])).unwrap();
    assert_eq!(policy.operators.len(), 2);
    assert_eq!(policy.operators[..1], service.identities[..1]);
    assert_eq!(policy.deployers, [ServiceIdentity::RegisteredResource("ci".into())]);
}

#[test]
fn exactly_one_kind_is_needed() {
    assert_eq!(of(&json!([{}])), ["[0] Required"]);
    let mut both = account("a", "b");
    both["registeredResource"] = registered("b")["registeredResource"].clone();
    assert_eq!(of(&json!([registered("c"), both])), ["[1] Invalid"]);
}

#[test]
fn accounts_that_many_pods_have_are_refused() {
    let table: &[(Value, &[&str])] = &[
        (account("sql", "default"), &["[0].serviceAccount.name Invalid"]),
        (account("sql", "*"), &["[0].serviceAccount.name Invalid"]),
        (account("sql", "tde-*"), &["[0].serviceAccount.name Invalid"]),
        (account("*", "tde"), &["[0].serviceAccount.namespace Invalid"]),
        (account("", ""), &["[0].serviceAccount.namespace Invalid", "[0].serviceAccount.name Invalid"]),
        (account("a.b", "A"), &["[0].serviceAccount.namespace Invalid", "[0].serviceAccount.name Invalid"]),
        (registered("default"), &["[0].registeredResource.serviceAccountName Invalid"]),
        (registered("*"), &["[0].registeredResource.serviceAccountName Invalid"]),
        (registered("a/b"), &["[0].registeredResource.serviceAccountName Invalid"]),
        (account("default", "tde"), &[]),
    ];
    for (identity, expected) in table {
        assert_eq!(of(&json!([identity])), *expected, "{identity}");
    }
}

#[test]
fn federated_credentials_that_prove_nothing_are_refused() {
    let table: &[(Value, &[&str])] = &[
        (json!({"issuer": "http://tokens.example.com"}), &["issuer Invalid"]),
        (json!({"issuer": "HTTPS://tokens.example.com"}), &["issuer Invalid"]),
        (json!({"issuer": " https://tokens.example.com"}), &["issuer Invalid"]),
        (json!({"issuer": "https://tokens.example .com"}), &["issuer Invalid"]),
        (json!({"issuer": "https://tokens.example.com\t"}), &["issuer Invalid"]),
        (json!({"issuer": "https://tokens.example.com?a"}), &["issuer Invalid"]),
        (json!({"issuer": "https://tokens.example.com#a"}), &["issuer Invalid"]),
        (json!({"issuer": "https://me@tokens.example.com"}), &["issuer Invalid"]),
        (json!({"issuer": "https://"}), &["issuer Invalid"]),
        (json!({"issuer": ""}), &["issuer Invalid"]),
        (json!({"issuer": "https://tokens.example.com/team/"}), &[]),
        (json!({"issuer": "https://kubernetes.default.svc.cluster.local"}), &[]),
        (json!({"subject": ""}), &["subject Invalid"]),
        (json!({"subject": "a\nb"}), &["subject Invalid"]),
        (json!({"subject": "a "}), &["subject Invalid"]),
        (json!({"subject": "repo:shop/*"}), &["subject Invalid"]),
        (json!({"subject": "system:serviceaccount:a:b"}), &[]),
        (json!({"audiences": []}), &["audiences Required"]),
        (json!({"audiences": [""]}), &["audiences[0] Invalid"]),
        (json!({"audiences": ["a\u{7f}"]}), &["audiences[0] Invalid"]),
        (json!({"audiences": ["vault", "vault"]}), &["audiences[1] Duplicate"]),
        (json!({"audiences": ["https://kubernetes.default.svc"]}), &["audiences[0] NotAllowed"]),
        (json!({"audiences": ["https://kubernetes.default.svc.cluster.local/"]}), &["audiences[0] NotAllowed"]),
        (json!({"audiences": ["vault", "kubernetes.default.svc"]}), &["audiences[1] NotAllowed"]),
        (json!({"audiences": ["https://tokens.example.com"]}), &["audiences[0] NotAllowed"]),
        (json!({"audiences": ["https://kubernetes.default.svcs.example.com"]}), &[]),
        (json!({"jwksUri": null}), &[" Required"]),
        (json!({"jwks": jwks("1")}), &[" Invalid"]),
        (json!({"jwksUri": null, "jwks": jwks("1")}), &[]),
        (json!({"jwksUri": null, "jwks": {"keys": []}}), &["jwks.keys Invalid"]),
        (json!({"jwksUri": "http://tokens.example.com/keys"}), &["jwksUri Invalid"]),
        (json!({"jwksUri": "https://tokens.example.com/keys#1"}), &["jwksUri Invalid"]),
        (json!({"jwksUri": "file:///etc/keys"}), &["jwksUri Invalid"]),
        (json!({"jwksUri": "https://tokens.example.com/keys?version=2"}), &[]),
    ];
    for (changes, expected) in table {
        let expected: Vec<String> = expected
            .iter()
            .map(|text| format!("[0].federatedCredential.{text}").replace(". ", " "))
            .collect();
        assert_eq!(of(&json!([federated(changes)])), expected, "{changes}");
    }
}

#[test]
fn an_identity_is_listed_once_and_an_issuer_has_one_set_of_keys() {
    let twice = json!([account("a", "b"), registered("b"), account("a", "c"), account("a", "b")]);
    assert_eq!(of(&twice), ["[3] Duplicate"]);
    let other = |changes: Value| federated(&changes);
    assert_eq!(of(&json!([federated(&json!({})), federated(&json!({}))])), ["[1] Duplicate"]);
    assert_eq!(of(&json!([federated(&json!({})), other(json!({"subject": "other"}))])), [""; 0]);
    let keys = |id: &str, subject: &str| other(json!({"subject": subject, "jwksUri": null, "jwks": jwks(id)}));
    assert_eq!(of(&json!([keys("1", "a"), keys("1", "b")])), [""; 0]);
    assert_eq!(of(&json!([keys("1", "a"), keys("2", "b")])), ["[1].federatedCredential.issuer Ambiguous"]);
    assert_eq!(of(&json!([federated(&json!({})), keys("1", "b")])), ["[1].federatedCredential.issuer Ambiguous"]);
    // The order of a key's members is no difference.
    let mut turned = keys("1", "b");
    let key = &mut turned["federatedCredential"]["jwks"]["keys"][0];
    let members: Vec<(String, Value)> = key.as_object().unwrap().clone().into_iter().rev().collect();
    *key = members.into_iter().collect();
    assert_eq!(of(&json!([keys("1", "a"), turned])), [""; 0]);
    // In a policy, over both lists.
    let lists = [
        ("spec.management.operators", json!([keys("1", "a")])),
        ("spec.management.deployers", json!([keys("2", "b")])),
    ];
    assert_eq!(found(policy(&lists)), ["spec.management.deployers[0].federatedCredential.issuer Ambiguous"]);
}
