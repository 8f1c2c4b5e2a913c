//! A vault with engines, auth methods and a namespace, and the firewall in front of it.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::standalone::objects::network;
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;
use testkit::client::TOKEN;
use testkit::wait::{wait_for, wait_until};
use testkit::{Client, OpenBao};

/// Everything that the pages show for an ordinary vault.
const POLICY: &str = "---
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: openbao, port: 8200}
  vault:
    engines:
    - {path: secret, type: KvV2}
    - {path: transit, type: Transit}
    - {path: kv, type: KvV1, namespace: team-a}
    namespaces: [team-a]
  virtualNetworkRules: [{subnet: {virtualNetwork: corp, name: clients}}]
";

/// Where a process without a choice of its own connects from.
pub(crate) const HERE: &[&str] = &["127.0.0.1/32"];
pub(crate) const ELSEWHERE: &[&str] = &["127.10.0.1/32"];

/// Waits until a file has this content.
pub(crate) fn wait_for_content(file: &Path, content: &str) {
    let what = format!("{} contains {content}", file.display());
    wait_until(&what, || {
        fs::read_to_string(file).is_ok_and(|text| text == content)
    });
}

/// A command with no setting of the vault in its environment.
pub(crate) fn without_settings(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("VAULT_") || text.starts_with("BAO_") {
            command.env_remove(&name);
        }
    }
    command.env("HOME", home);
    command
}

/// The firewall and the vault; the firewall ends first.
pub(crate) struct Scene {
    _serve: Serve,
    vault: OpenBao,
    pub(crate) sandbox: Sandbox,
}

impl Scene {
    /// Starts a vault, and the firewall that allows these prefixes.
    pub(crate) fn start(prefixes: &[&str]) -> Self {
        Self::start_with(prefixes, "")
    }

    /// The same with a configuration of the vault.
    pub(crate) fn start_with(prefixes: &[&str], configuration: &str) -> Self {
        let network = network(&[("clients", prefixes)]);
        let objects = [("policy.yaml", POLICY), ("network.yaml", &network)];
        Self::start_with_objects(&objects, configuration)
    }

    /// Starts a vault, and the firewall with these files of objects.
    pub(crate) fn start_with_objects(objects: &[(&str, &str)], configuration: &str) -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.at("openbao.hcl");
        fs::write(&file, configuration).unwrap();
        let arguments = ["-config", file.to_str().unwrap()];
        let vault = OpenBao::start_with(sandbox.upstream(), &sandbox.at(""), &arguments);
        for (name, text) in objects {
            sandbox.put(name, text);
        }
        let serve = Serve::start(&sandbox);
        Self {
            _serve: serve,
            vault,
            sandbox,
        }
    }

    /// Allows these prefixes, and no other any more.
    pub(crate) fn allow(&self, prefixes: &[&str]) {
        let network = network(&[("clients", prefixes)]);
        self.sandbox.put("network.yaml", &network);
    }

    /// Sends a request of the vault's owner to the vault itself. Returns the body; empty text is null.
    pub(crate) fn owner(&self, line: &str, body: &str) -> Value {
        self.owner_in("", line, body)
    }

    /// The same in a namespace of the vault.
    pub(crate) fn owner_in(&self, namespace: &str, line: &str, body: &str) -> Value {
        let (method, path) = line.split_once(' ').unwrap();
        let mut direct = Client::new(Ipv4Addr::LOCALHOST, self.vault.address());
        direct.headers = format!("X-Vault-Token: {TOKEN}\r\nX-Vault-Namespace: {namespace}\r\n");
        let answer = direct.send(method, &format!("/v1/{path}"), body).unwrap();
        assert!(matches!(answer.status, 200 | 204), "{line}: {answer}");
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    /// Writes the password of the secret `secret/app`.
    pub(crate) fn set_password(&self, password: &str) {
        let body = format!(r#"{{"data": {{"password": "{password}"}}}}"#);
        self.owner("POST secret/data/app", &body);
    }

    /// Creates an `AppRole` that may read the secret. Returns the ids of role and secret.
    pub(crate) fn app_role(&self, settings: &str) -> (String, String) {
        self.owner("POST sys/auth/approle", r#"{"type": "approle"}"#);
        let policy = r#"{"policy": "path \"secret/data/*\" { capabilities = [\"read\"] }"}"#;
        self.owner("POST sys/policies/acl/app", policy);
        self.owner("POST auth/approle/role/app", settings);
        let text = |line: &str, key: &str| {
            let answer = self.owner(line, "");
            answer["data"][key].as_str().unwrap().to_owned()
        };
        (
            text("GET auth/approle/role/app/role-id", "role_id"),
            text("POST auth/approle/role/app/secret-id", "secret_id"),
        )
    }

    /// Records of the access log so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.sandbox.at("access.log")).unwrap_or_default();
        let lines = text.lines();
        // The last line may be incomplete.
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits for a record after the first `from`: path and status.
    pub(crate) fn wait_for_record(&self, from: usize, path: &str, status: u16) {
        wait_for(&format!("{path} is answered {status}"), || {
            let records = self.records();
            let mut new = records.iter().skip(from);
            new.find(|record| record["requestUri"] == path && record["httpStatusCode"] == status)?;
            Some(())
        });
    }
}
