//! The libraries of Azure Key Vault for Python and JavaScript, as clients of `vaultwall serve` in front of a stub of
//! the vault: the challenge, every method of the libraries, and the exception for a denied client.
//!
//! The files `python.txt` and `node.txt` list the requests with the operations in the access log. `UPDATE_GOLDEN=1`
//! writes them again.

mod stub;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use testkit::client::TOKEN;
use testkit::tool;
use testkit::tools::repository;
use testkit::wait::wait_until;

use self::stub::Stub;
use crate::standalone::objects::{ALLOWED, DENIED, network};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;

const POLICY: &str = "---
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: main, port: 443}
  vault: {api: AzureKeyVault}
  virtualNetworkRules: [{subnet: {virtualNetwork: corp, name: clients}}]
";

/// A library of a language, and the program that uses it.
struct Library {
    /// Name of the tool, and of the file of requests.
    tool: &'static str,
    program: &'static str,
    requests: &'static str,
    /// Whether the exception of a denied list has the text of the answer.
    explains_lists: bool,
}

const PYTHON: Library = Library {
    tool: "azure-python",
    program: "python.py",
    requests: "python.txt",
    explains_lists: true,
};
const NODE: Library = Library {
    tool: "azure-node",
    program: "node.cjs",
    requests: "node.txt",
    explains_lists: false,
};

fn file(name: &str) -> PathBuf {
    repository().join("tests/clients/azure").join(name)
}

impl Library {
    /// Runs the program. Returns its steps, each with its result.
    fn run(&self, endpoint: SocketAddrV4, from: Ipv4Addr) -> Vec<(String, String)> {
        let output = Command::new(tool(self.tool))
            .arg(file(self.program))
            .args([&format!("http://{endpoint}"), &from.to_string(), TOKEN])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let steps = text.lines().map(|line| line.split_once(' ').unwrap());
        steps
            .map(|(name, result)| (name.into(), result.into()))
            .collect()
    }
}

/// The firewall and the stub; the firewall ends first.
struct Scene {
    _serve: Serve,
    stub: Stub,
    sandbox: Sandbox,
}

impl Scene {
    fn start() -> Self {
        Self::start_with(POLICY)
    }

    fn start_with(policy: &str) -> Self {
        let sandbox = Sandbox::new();
        let stub = Stub::start(sandbox.upstream());
        sandbox.put("policy.yaml", policy);
        sandbox.put(
            "network.yaml",
            &network(&[("clients", &[&format!("{ALLOWED}/32")])]),
        );
        let serve = Serve::start(&sandbox);
        Self {
            _serve: serve,
            stub,
            sandbox,
        }
    }

    /// Records of the access log, when there are this many.
    fn records(&self, count: usize) -> Vec<Value> {
        let mut records: Vec<Value> = Vec::new();
        wait_until(&format!("the access log has {count} records"), || {
            let text = fs::read_to_string(self.sandbox.at("access.log")).unwrap_or_default();
            records = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            records.len() >= count
        });
        records
    }
}

/// From an allowed address every method works, and the access log has the operation of each request. The first request
/// of each client has no token, and the vault's challenge arrives.
fn every_method_works(library: &Library) {
    let scene = Scene::start();
    let steps = library.run(scene.sandbox.data(), ALLOWED);
    let failed: Vec<_> = steps
        .iter()
        .filter(|(_, result)| result.contains("Forbidden"))
        .collect();
    assert!(failed.is_empty() && steps.len() > 60, "{failed:#?}");
    let value = |name: &str| &steps.iter().find(|(step, _)| step == name).unwrap().1;
    assert_eq!(value("secret-get"), "aG9yc2U");
    assert_eq!(value("secret-list"), "one,two");
    assert_eq!(value("decrypt"), "horse");

    let arrived = scene.stub.arrived();
    let without_token = arrived.iter().filter(|(_, with_token)| !with_token).count();
    assert!(without_token >= 3, "{without_token} challenges");
    let records = scene.records(arrived.len());
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let requests: Vec<String> = records
        .iter()
        .map(|record| {
            assert_eq!(record["reason"], "VirtualNetworkRule", "{record}");
            format!(
                "{} {} | {} | {}",
                text(record, "method"),
                text(record, "requestUri"),
                text(record, "operations"),
                record["httpStatusCode"]
            )
        })
        .collect();
    let written = requests.join("\n") + "\n";
    let golden = file(library.requests);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value != "0") {
        fs::write(&golden, &written).unwrap();
    }
    assert_eq!(written, fs::read_to_string(&golden).unwrap());
}

/// From another address, and on the management endpoint, each method raises the library's exception of a 403, with the
/// code, the inner code and the firewall's text, and nothing reaches the vault.
fn every_method_is_denied(library: &Library) {
    let scene = Scene::start();
    for (endpoint, from, inner, part) in [
        (
            scene.sandbox.data(),
            DENIED,
            "ForbiddenByFirewall",
            "127.20.0.1",
        ),
        (
            scene.sandbox.management(),
            ALLOWED,
            "ForbiddenByPlane",
            "Use the data endpoint",
        ),
    ] {
        let steps = library.run(endpoint, from);
        assert!(steps.len() > 60);
        for (name, result) in steps {
            let is_list = name.ends_with("-list") || name.ends_with("-versions");
            if is_list && !library.explains_lists {
                assert!(result.starts_with("403 Forbidden - "), "{name}: {result}");
                continue;
            }
            let start = format!(
                "403 Forbidden {inner} Vaultwall denied this request to vault/main ({inner}): "
            );
            assert!(result.starts_with(&start), "{name}: {result}");
            assert!(
                result.contains(part) && result.contains("decision"),
                "{name}: {result}"
            );
        }
    }
    assert_eq!(scene.stub.arrived(), []);
}

#[test]
fn every_method_of_the_python_library_works_from_an_allowed_address() {
    every_method_works(&PYTHON);
}

#[test]
fn every_method_of_the_python_library_is_denied_elsewhere() {
    every_method_is_denied(&PYTHON);
}

#[test]
fn every_method_of_the_javascript_library_works_from_an_allowed_address() {
    every_method_works(&NODE);
}

#[test]
fn every_method_of_the_javascript_library_is_denied_elsewhere() {
    every_method_is_denied(&NODE);
}

/// One body has both shapes, and a bad request has Azure's code. Probes need no rule.
#[test]
fn answers_of_the_firewall_have_the_shape_of_both_apis() {
    let scene = Scene::start();
    let ask = |from: Ipv4Addr, method: &str, target: &str| {
        let mut client = scene.sandbox.client(from);
        let answer = client.send(method, target, "").unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        (answer.status, body)
    };
    for (from, method, target, status, code, inner) in [
        (
            DENIED,
            "GET",
            "/secrets/db",
            403,
            "Forbidden",
            "ForbiddenByFirewall",
        ),
        (
            ALLOWED,
            "GET",
            "/secrets/a;b",
            400,
            "BadParameter",
            "BadRequest",
        ),
        (
            ALLOWED,
            "LIST",
            "/secrets",
            400,
            "BadParameter",
            "BadRequest",
        ),
    ] {
        let (found, body) = ask(from, method, target);
        assert_eq!(found, status, "{method} {target}");
        assert_eq!(body["error"]["code"], code);
        assert_eq!(body["error"]["innererror"]["code"], inner);
        assert_eq!(
            body["errors"],
            serde_json::json!([body["error"]["message"]])
        );
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("Vaultwall denied this request to vault/main"),
            "{message}"
        );
    }
    assert_eq!(ask(DENIED, "GET", "/healthstatus").0, 200);
    assert_eq!(ask(DENIED, "GET", "/HealthStatus?api-version=7.6").0, 200);
    assert_eq!(ask(ALLOWED, "GET", "/secrets/db").0, 401);
    let arrived: Vec<String> = scene
        .stub
        .arrived()
        .into_iter()
        .map(|(line, _)| line)
        .collect();
    assert_eq!(
        arrived,
        ["GET /healthstatus", "GET /HealthStatus", "GET /secrets/db"]
    );
}

/// Everything is denied except the probe, in the format of the API.
#[test]
fn an_invalid_policy_still_determines_the_api() {
    let policy = POLICY.replace("virtualNetwork: corp", "virtualNetwork: [corp]");
    let scene = Scene::start_with(&policy);
    let mut client = scene.sandbox.client(ALLOWED);
    let probe = client.send("GET", "/healthstatus", "").unwrap();
    assert_eq!(probe.status, 200, "{probe}");
    let denied = client
        .send("GET", "/secrets/app?api-version=7.6", "")
        .unwrap();
    assert_eq!(denied.status, 403, "{denied}");
    let body: Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!(body["error"]["code"], "Forbidden", "{denied}");
    assert_eq!(
        body["error"]["innererror"]["code"], "ForbiddenByFirewall",
        "{denied}"
    );
}
