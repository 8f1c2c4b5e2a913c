//! The operator's certificate authority, replaced step by step, and deleted while no watch runs.

use std::net::SocketAddrV4;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use vaultwall::policy::VaultId;
use vaultwall::runtime::permissions::Scope;
use vaultwall::transport::certificates::{Authority, Identity};

use crate::operator::enforcement::policy;
use crate::operator::sandbox::{OPERATOR, OTHER_POD, POD, Sandbox};
use crate::operator::watches::compact;
use crate::roles::{allow_operator, rules};
use testkit::client::Client;
use testkit::client::Verdict::{Allowed, Denied};
use testkit::wait::wait_for;

const NAMESPACE: &str = "vaultwall-system";

/// An entry of a Secret, if there is one.
fn entry(sandbox: &Sandbox, namespace: &str, name: &str, key: &str) -> Option<String> {
    let arguments = ["get", "secret", "-n", namespace, name, "-o", "json"];
    let answer = sandbox.server.kubectl(&arguments, "");
    let secret: Value = serde_json::from_slice(&answer.stdout).ok()?;
    let bytes: ByteString = serde_json::from_value(secret["data"][key].clone()).ok()?;
    String::from_utf8(bytes.0).ok()
}

fn of_authority(sandbox: &Sandbox, key: &str) -> Option<String> {
    entry(sandbox, NAMESPACE, "vaultwall-ca", key)
}

/// Waits until the proxies' Secret has this in it.
fn proxies_are_given(sandbox: &Sandbox, key: &str, wanted: impl Fn(&str) -> bool) {
    wait_for(&format!("{key} of the proxies"), || {
        let found = entry(sandbox, "vault", "openbao-firewall", key)?;
        wanted(&found).then_some(())
    });
}

fn replace(sandbox: &Sandbox, key: &str, text: &str) {
    let patch = json!({"stringData": {key: text}}).to_string();
    let place = ["patch", "secret", "-n", NAMESPACE, "vaultwall-ca"];
    sandbox.kubectl(&[&place[..], &["--type", "merge", "-p", &patch]].concat());
}

#[test]
fn an_authority_is_replaced_without_a_gap() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let old = wait_for("the authority", || of_authority(&sandbox, "ca.crt"));
    proxies_are_given(&sandbox, "ca.crt", |found| found == old);
    let next = Authority::generate(Timestamp::now()).unwrap();
    let next_key = String::from_utf8(next.secret_data()["ca.key"].0.clone()).unwrap();
    let is_of_next = |certificate: &str| {
        let key = entry(&sandbox, "vault", "openbao-firewall", "tls.key").unwrap();
        let identity = Identity::Proxy(VaultId {
            namespace: "vault".into(),
            service: "openbao".into(),
        });
        let lifetime = next.lifetime(certificate, &key, &identity, Timestamp::now());
        lifetime.is_some()
    };

    // First the new certificate next to the old one; then every peer trusts both.
    let both = format!("{old}{}", next.ca_pem());
    replace(&sandbox, "ca.crt", &both);
    proxies_are_given(&sandbox, "ca.crt", |found| found == both);
    proxies_are_given(&sandbox, "tls.crt", |found| !is_of_next(found));
    let proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);

    // Then the new key: every peer gets a certificate of the new authority, and none is disconnected.
    replace(&sandbox, "ca.key", &next_key);
    proxies_are_given(&sandbox, "tls.crt", is_of_next);
    sandbox.server.apply(&policy("web", "batch"));
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed)]);
    let said = operator.log();
    assert_eq!(said.matches("a proxy is connected").count(), 1, "{said}");
    assert!(!said.contains("a proxy is refused"), "{said}");
    drop(proxy);

    // Then the old certificate goes. A proxy that trusts the new one alone finds an operator that has one of it.
    replace(&sandbox, "ca.crt", next.ca_pem());
    proxies_are_given(&sandbox, "ca.crt", |found| found == next.ca_pem());
    let _proxy = sandbox.proxy();
    sandbox.server.apply(&policy("web", "web"));
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);

    // Another operator reports the end of a certificate that it did not issue, until the vault has no policy.
    let certificate = entry(&sandbox, "vault", "openbao-firewall", "tls.crt");
    operator.stop();
    let operator = sandbox.operator_at("second", sandbox.operators);
    let shows_the_end = || {
        let mut client = Client::new(operator.address, SocketAddrV4::new(operator.address, 8080));
        let answer = client.send("GET", "/metrics", "").ok()?;
        Some(answer.body.contains("{certificate=\"proxy\"} "))
    };
    wait_for("the end of the proxies' certificate", || {
        shows_the_end()?.then_some(())
    });
    let found = entry(&sandbox, "vault", "openbao-firewall", "tls.crt");
    assert_eq!(found, certificate, "it was good and stays");
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "web"]);
    wait_for("nothing about the proxies' certificate", || {
        (!shows_the_end()?).then_some(())
    });
}

#[test]
fn an_authority_that_was_deleted_without_an_event_is_created_again() {
    let sandbox = Sandbox::new();
    let mut operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let old = wait_for("the authority", || of_authority(&sandbox, "ca.crt"));
    proxies_are_given(&sandbox, "ca.crt", |found| found == old);
    operator.wait_for_log("this replica leads");

    // It may not create a new one, so that its error is in the log.
    let without = rules(Scope::Cluster, |permission, verb| {
        (permission.resource, verb) != ("secrets", "create")
    });
    sandbox.server.bind(OPERATOR, None, OPERATOR, &without);
    // Deleted in etcd, past the API server, and compacted: no watch sees it.
    sandbox.server.stop();
    let key = ByteString(format!("/registry/secrets/{NAMESPACE}/vaultwall-ca").into_bytes());
    let deleted = sandbox
        .server
        .etcd("/v3/kv/deleterange", &json!({"key": key}));
    assert_eq!(deleted["deleted"], "1", "{deleted}");
    compact(&sandbox);
    sandbox.server.restart();
    // Where the API server takes long to start, the lease is lost, and a Deployment would start the operator again.
    wait_for("what lacks, or the end", || {
        let said = operator.log();
        let lacks = said.contains(
            "vaultwall-ca, which holds the operator's certificate authority, cannot be created",
        ) && said.contains("grant the operator its permissions for Secrets");
        (lacks || operator.has_ended()).then_some(())
    });
    allow_operator(&sandbox.server, OPERATOR, NAMESPACE);
    if operator.has_ended() {
        operator = sandbox.operator_at("again", sandbox.operators);
    }
    let new = wait_for("another authority", || of_authority(&sandbox, "ca.crt"));
    assert_ne!(new, old);
    proxies_are_given(&sandbox, "ca.crt", |found| found == new);
    drop(operator);
}
