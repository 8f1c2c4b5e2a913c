//! A vault in which a service of the catalog has every permission, and a firewall that lets it in for its scenarios.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::catalog::manifests::{Manifest, manifests};
use crate::clients::scene::Scene as Firewall;
use crate::injected::logins;
use crate::services::recorded::Recorded;
use testkit::client::Answer;
use testkit::wait::wait_for;
use testkit::{ApiServer, Client};

const POLICY: &str = "---
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: openbao, port: 8200}
  vault:
    namespaces: [team-a]
    engines:
    - {path: secret, type: KvV2}
    - {path: kv, type: KvV1}
    - {path: kv, type: KvV1, namespace: team-a}
    - {path: transit, type: Transit}
    - {path: pki, type: Pki}
    - {path: database, type: Database}
  bypass: TrustedServices
";
/// The vault's own policy of the service. Whatever is refused, the firewall refuses it.
const PERMISSIONS: &str = r#"
path "*" { capabilities = ["create", "read", "update", "delete", "list"] }
"#;
/// Namespace and service account that log in: those of an application. The service only connects.
const APPLICATION: (&str, &str) = ("shop", "app");
/// Audience of the tokens with which they log in.
const AUDIENCE: &str = "vault";

/// Operations of a service.
#[derive(Clone, Copy)]
pub(crate) struct Scope {
    /// Those of its scenario in the catalog.
    pub(crate) own: &'static [&'static str],
    /// Those that the note of the manifest says to add for further features.
    pub(crate) optional: &'static [&'static str],
}

/// Where a request comes from, and with which token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A pod of the account in the catalog.
    Service,
    /// A pod of a service with the same scenario and the optional operations.
    Extended,
    /// A pod of a service with another scenario.
    Other,
    /// A pod without an identity.
    Unknown,
    /// The pod of [`Service`](Self::Service), without a token of the vault.
    WithoutToken,
}

/// The answer to a request.
pub(crate) struct Expected {
    pub(crate) reason: &'static str,
    /// Status; `None` if the vault answers, in whatever way.
    pub(crate) status: Option<u16>,
}

impl Caller {
    /// All, in the order in which they send their requests.
    pub(crate) const ALL: [Self; 5] = [
        Self::Service,
        Self::Extended,
        Self::Other,
        Self::Unknown,
        Self::WithoutToken,
    ];

    fn address(self) -> Ipv4Addr {
        let number = match self {
            Self::Service | Self::WithoutToken => 1,
            Self::Extended => 2,
            Self::Other => 3,
            Self::Unknown => 4,
        };
        Ipv4Addr::new(127, 30, 0, number)
    }
}

/// The vault, the firewall, and their callers.
pub(crate) struct Scene {
    firewall: Firewall,
    pub(crate) manifest: Manifest,
    scope: Scope,
    /// Texts for the placeholders in the recorded requests.
    texts: BTreeMap<&'static str, String>,
    /// Records of the access log that were looked at.
    records: usize,
}

impl Scene {
    /// Starts the vault and the firewall. Services: that of the catalog, one with further operations, and another one.
    pub(crate) fn start(server: &ApiServer, service: &str, scope: Scope) -> Self {
        let mut all = manifests().into_iter();
        let manifest = all.find(|manifest| manifest.name() == service).unwrap();
        let account = &manifest.document["spec"]["identities"][0]["serviceAccount"];
        let (extended, other) = (account_of("extended"), account_of("other"));
        let operations = [scope.own, scope.optional].concat();
        let objects = [
            manifest.document.clone(),
            trusted_service("extended", &json!(operations), &extended),
            trusted_service("other", &json!(["keys/list"]), &other),
            pod("service", account, Caller::Service.address()),
            pod("extended", &extended, Caller::Extended.address()),
            pod("other", &other, Caller::Other.address()),
            pod("unknown", &account_of("unknown"), Caller::Unknown.address()),
        ];
        let objects = objects.map(|object| object.to_string());
        let objects = [
            ("policy.yaml", POLICY),
            ("objects.yaml", &objects.join("\n---\n")),
        ];
        let firewall = Firewall::start_with_objects(&objects, "");
        let (namespace, name) = APPLICATION;
        logins::enable(&firewall, server, namespace, name);
        fill(&firewall);
        let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
        let jwt = logins::token(server, namespace, name, AUDIENCE);
        Self {
            firewall,
            scope,
            manifest,
            texts: BTreeMap::from([("{jwt}", jwt), ("{tomorrow}", tomorrow.to_string())]),
            records: 0,
        }
    }

    /// The answer to a request that the scenarios of the caller determine.
    pub(crate) fn expected(&self, caller: Caller, request: &Recorded) -> Expected {
        let Scope { own, optional } = self.scope;
        let is_inside = match caller {
            Caller::Service | Caller::WithoutToken => own.contains(&request.needs),
            Caller::Extended => [own, optional].concat().contains(&request.needs),
            Caller::Other | Caller::Unknown => false,
        };
        let reason = match (request.needs, caller) {
            ("infrastructure", _) => "Infrastructure",
            ("critical", _) => "ForbiddenCritical",
            (_, Caller::Unknown) => "ForbiddenByFirewall",
            ("session", _) => "TrustedService",
            ("control", _) => "ForbiddenByPlane",
            (_, Caller::WithoutToken) if is_inside => "ForbiddenByMissingToken",
            _ if is_inside => "TrustedService",
            _ => "ForbiddenByScenario",
        };
        // The others do not do all that a later request is about.
        let is_complete = matches!(caller, Caller::Service | Caller::Extended);
        let status = match reason {
            "TrustedService" | "Infrastructure" => is_complete.then_some(request.status),
            _ => Some(403),
        };
        Expected { reason, status }
    }

    /// Sends a request, and keeps what later ones need from its answer.
    pub(crate) fn send(&mut self, caller: Caller, request: &Recorded) -> Answer {
        let texts = &self.texts;
        let filled = texts
            .iter()
            .fold(request.body.clone(), |text, (name, value)| {
                text.replace(name, value)
            });
        let mut headers = String::from("X-Vault-Request: true\r\n");
        if let Some(namespace) = request.namespace {
            let _ = write!(headers, "X-Vault-Namespace: {namespace}\r\n");
        }
        if !request.is_anonymous() && caller != Caller::WithoutToken {
            let _ = write!(headers, "X-Vault-Token: {}\r\n", texts["{token}"]);
        }
        // A denial closes the connection.
        let mut client = Client::new(caller.address(), self.firewall.sandbox.data());
        client.headers = headers;
        let path = format!("/v1/{}", request.path);
        let answer = client.send(request.method, &path, &filled).unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        for (name, found) in [
            ("{token}", &body["auth"]["client_token"]),
            ("{serial}", &body["data"]["serial_number"]),
            ("{lease}", &body["lease_id"]),
            ("{ciphertext}", &body["data"]["ciphertext"]),
        ] {
            if let Some(text) = found.as_str().filter(|text| !text.is_empty()) {
                self.texts.insert(name, text.to_owned());
            }
        }
        answer
    }

    /// Paths and reasons in the next records of the access log, sorted.
    pub(crate) fn logged(&mut self, count: usize) -> Vec<(String, String)> {
        let from = self.records;
        let records = wait_for("the access log has all requests", || {
            let records = self.firewall.records();
            (records.len() >= from + count).then_some(records)
        });
        self.records = records.len();
        let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_owned();
        let records = records.iter().skip(from);
        let mut logged: Vec<_> = records
            .map(|record| (text(record, "requestUri"), text(record, "reason")))
            .collect();
        logged.sort();
        logged
    }
}

fn account_of(name: &str) -> Value {
    json!({"namespace": "services", "name": name})
}

fn trusted_service(name: &str, operations: &Value, account: &Value) -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "TrustedService", "metadata": {"name": name},
        "spec": {
            "scenarios": [{"name": "work", "operations": operations}],
            "identities": [{"serviceAccount": account}],
        },
    })
}

fn pod(name: &str, account: &Value, address: Ipv4Addr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": account["namespace"]},
        "spec": {"serviceAccountName": account["name"], "containers": []},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    })
}

/// Engines with content, and a role of the vault that may use everything.
fn fill(firewall: &Firewall) {
    let write = |line: &str, body: Value| firewall.owner(line, &body.to_string());
    write("POST sys/policies/acl/all", json!({"policy": PERMISSIONS}));
    let (namespace, account) = APPLICATION;
    let role = json!({
        "bound_service_account_names": account, "bound_service_account_namespaces": namespace,
        "audience": AUDIENCE, "token_policies": "all", "token_ttl": "1h",
    });
    write("POST auth/kubernetes/role/app", role);
    write("POST sys/namespaces/team-a", json!({}));
    for namespace in ["", "team-a"] {
        firewall.owner_in(namespace, "POST sys/mounts/kv", r#"{"type": "kv"}"#);
        firewall.owner_in(namespace, "POST kv/app", r#"{"password": "correct horse"}"#);
    }
    for engine in ["transit", "pki", "database"] {
        write(
            &format!("POST sys/mounts/{engine}"),
            json!({"type": engine}),
        );
    }
    write("POST transit/keys/cache", json!({}));
    let root = json!({"common_name": "root", "key_type": "ec"});
    write("POST pki/root/generate/internal", root);
    let role = json!({
        "allowed_domains": "example.com", "allow_subdomains": true, "generate_lease": true, "key_type": "ec",
    });
    write("POST pki/roles/app", role);
}
