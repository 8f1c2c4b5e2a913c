//! The access log with a real Envoy: no token, no query, no long text, no id that a client chose, and a file that only
//! its owner may read.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::standalone::objects::{ALLOWED, DENIED};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;
use testkit::OpenBao;
use testkit::client::{Answer, Client};
use testkit::wait::{wait_for, wait_until};

/// Part of every text that must not be in a record.
const HIDDEN: &str = "not-for-the-log";

fn policy(level: &str) -> String {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": "main", "namespace": "vault"},
        "spec": {
            "targetRef": {"name": "openbao", "port": 8200},
            "vault": {"engines": [{"path": "secret", "type": "KvV2"}]},
            "virtualNetworkRules": [{"subnet": {"virtualNetwork": "net", "name": "inside"}}],
            // The client's own request id would be the decision id.
            "clientAddress": {"source": "XForwardedFor", "trustedProxies": ["127.0.0.9/32"]},
            "accessLog": {"level": level},
        },
    })
    .to_string()
}

fn network() -> String {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VirtualNetwork",
        "metadata": {"name": "net"},
        "spec": {"subnets": [{
            "name": "inside",
            "serviceEndpoints": ["Vault"],
            "addressPrefixes": [format!("{ALLOWED}/32")],
        }]},
    })
    .to_string()
}

pub(crate) fn protected(level: &str) -> (Sandbox, OpenBao, Serve) {
    let sandbox = Sandbox::new();
    let vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("policy.yaml", &policy(level));
    sandbox.put("network.yaml", &network());
    let serve = Serve::start(&sandbox);
    (sandbox, vault, serve)
}

pub(crate) fn send(
    source: Ipv4Addr,
    server: SocketAddrV4,
    headers: &str,
    method: &str,
    target: &str,
) -> Answer {
    let mut client = Client::new(source, server);
    client.headers.push_str(headers);
    client.send(method, target, "").unwrap()
}

/// The record of the request with this user agent.
fn record(log: &Path, agent: &str) -> Value {
    wait_for(agent, || {
        let text = fs::read_to_string(log).ok()?;
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .into_iter()
            .find(|record: &Value| record["userAgent"] == agent)
    })
}

fn agent(name: &str) -> String {
    format!("User-Agent: {name}\r\n")
}

#[test]
fn a_record_has_no_query_no_long_text_and_no_id_of_the_client() {
    let (sandbox, _vault, _serve) = protected("All");
    let log = sandbox.at("access.log");
    let ask = |source, name: &str, headers: &str, target: &str| {
        let headers = agent(name) + headers;
        let answer = send(source, sandbox.data(), &headers, "GET", target);
        (answer, record(&log, name))
    };
    let query = format!("?token={HIDDEN}&code={HIDDEN}");
    let (answer, allowed) = ask(
        ALLOWED,
        "allowed",
        "",
        &format!("/v1/secret//data/./app{query}"),
    );
    assert_eq!(answer.status, 200);
    assert_eq!(allowed["requestUri"], "/v1/secret/data/app");

    let chosen = format!("x-request-id: {HIDDEN}\r\nClient-Cert: :{HIDDEN}:\r\n");
    let (answer, denied) = ask(
        DENIED,
        "denied",
        &chosen,
        &format!("/v1/secret/data/app{query}"),
    );
    assert_eq!(answer.status, 403);
    let id = denied["decisionId"].as_str().unwrap();
    assert_eq!(id.len(), 36, "{id}");
    assert!(answer.body.contains(id), "{answer}");

    let many = "a".repeat(6_000);
    let (answer, record_of_long) = ask(
        DENIED,
        "long",
        &format!("X-Vault-Namespace: {many}\r\n"),
        &format!("/v1/secret/data/{many}"),
    );
    assert_eq!(answer.status, 400, "the path is too long to be evaluated");
    assert_eq!(record_of_long["requestUri"].as_str().unwrap().len(), 1024);
    assert_eq!(
        record_of_long["vaultNamespace"].as_str().unwrap().len(),
        256
    );
    assert!(record_of_long.to_string().len() < 4096);

    // Envoy refuses these before anything else, so the id is the client's.
    for (name, target) in [
        ("absolute", format!("http://user:{HIDDEN}@vault/v1/x")),
        ("fragment", format!("/v1/secret/data/app#token={HIDDEN}")),
        ("nul", format!("/v1/secret/data/{HIDDEN}%00")),
    ] {
        let (answer, refused) = ask(DENIED, name, &chosen, &target);
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("BadRequest"), "{answer}");
        assert!(!answer.body.contains(HIDDEN), "{answer}");
        for field in ["requestUri", "decisionId"] {
            assert!(refused.get(field).is_none(), "{refused}");
        }
    }
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains(HIDDEN), "{text}");
}

/// Envoy answers a client of gRPC with the status 200, also if it denies the request.
#[test]
fn a_denial_is_logged_whatever_its_status_is() {
    let (sandbox, _vault, _serve) = protected("Denied");
    let log = sandbox.at("access.log");
    let ask = |source, name: &str| {
        let headers = agent(name) + "Content-Type: application/grpc\r\n";
        send(
            source,
            sandbox.data(),
            &headers,
            "GET",
            "/v1/secret/data/app",
        )
    };
    assert_eq!(ask(ALLOWED, "allowed").status, 200);
    assert_eq!(ask(DENIED, "denied").status, 200);
    let denied = record(&log, "denied");
    assert_eq!(denied["reason"], "ForbiddenByFirewall");
    assert_eq!(denied["httpStatusCode"], 200);
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("\"allowed\""), "{text}");
}

#[test]
fn only_the_owner_may_read_the_access_log() {
    let (sandbox, _vault, _serve) = protected("All");
    let log = sandbox.at("access.log");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&log), 0o600);
    // After a rotation Envoy creates the file, with its next record.
    fs::rename(&log, sandbox.at("access.log.1")).unwrap();
    kill_process(sandbox.envoy().unwrap(), Signal::USR1).unwrap();
    wait_until("a new access log", || {
        send(ALLOWED, sandbox.data(), "", "GET", "/v1/sys/health");
        log.exists()
    });
    assert_eq!(mode(&log), 0o600);
}
