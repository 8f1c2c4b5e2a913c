//! The vault, its policies and roles, the pods, and the trusted services.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::cluster::client::{Answer, Clients, OPTED_IN};
use testkit::cluster::login::AUDIENCE;
use testkit::cluster::vault::Vault;
use testkit::cluster::{apply, eventually, kubectl};
use testkit::issuer::Issuer;

/// Subscription of the vault.
const SUBSCRIPTION: &str = "vaultwall.dev/subscription";
/// Issuer of federated tokens: it is never asked, because its keys are in the object.
const ISSUER: &str = "https://tokens.example.com";
/// Audience of federated tokens.
const FEDERATED_AUDIENCE: &str = "e2e-vault";
/// Policy of the vault for both operations, and for the write of a deployment.
const PERMISSIONS: &str = r#"
path "secret/data/*" { capabilities = ["read", "create", "update"] }
path "secret/metadata/" { capabilities = ["list"] }
path "secret/metadata" { capabilities = ["list"] }
"#;

/// A vault whose namespace has a subscription, pods in the same subscription, and a pod in another one.
pub(super) struct Stage {
    pub(super) vault: Vault,
    apps: Clients,
    foreign: Clients,
    issuer: Issuer,
    name: String,
}

/// A pod that sends requests, and the identity that it sends with them.
pub(super) struct Caller<'a> {
    pub(super) clients: &'a Clients,
    pub(super) pod: &'static str,
    /// Value of the probe's option `--identity`.
    pub(super) identity: Option<String>,
    /// `tokenProblem` in the access log.
    pub(super) problem: Option<&'static str>,
    /// Value of `--identity` for the projected token.
    projected: String,
}

impl Caller<'_> {
    /// Sends this token.
    pub(super) fn with_identity(mut self, token: &str) -> Self {
        self.identity = Some(token.to_owned());
        self
    }

    /// Sends the token that the kubelet writes into the pod.
    pub(super) fn with_projected(mut self) -> Self {
        self.identity = Some(self.projected.clone());
        self
    }

    /// Its token fails this check.
    pub(super) fn with_problem(mut self, problem: &'static str) -> Self {
        self.problem = Some(problem);
        self
    }

    /// Sends a request with these options of the probe.
    pub(super) fn ask(&self, options: &[&str]) -> Answer {
        let identity = self.identity.iter();
        let identity: Vec<&str> = identity
            .flat_map(|identity| ["--identity", identity])
            .collect();
        self.clients
            .ask(self.pod, &[&identity[..], options].concat())
    }
}

impl Stage {
    /// Starts the vault in the namespace `name`, the pods in `name-apps` and `name-foreign`, and applies the services.
    pub(super) fn start(name: &str) -> Self {
        let vault = Vault::start(name);
        let label = format!("{SUBSCRIPTION}=shop");
        kubectl(&["label", "namespace", name, &label]);
        let clients = |suffix, labels: &str, accounts: &[&str]| {
            let clients = Clients::new(&format!("{name}-{suffix}"), labels, &vault);
            clients.namespace.create_accounts(accounts);
            clients
        };
        let labels = format!("{OPTED_IN}, {SUBSCRIPTION}: shop");
        let stage = Self {
            apps: clients("apps", &labels, &["agent", "other", "resource"]),
            foreign: clients(
                "foreign",
                &format!("{SUBSCRIPTION}: website"),
                &["resource"],
            ),
            issuer: Issuer::new(ISSUER, "e2e"),
            name: name.to_owned(),
            vault,
        };
        stage.start_pods();
        stage.prepare_vault();
        stage.apply_services();
        stage
    }

    fn start_pods(&self) {
        let audience = self.audience();
        let start = |clients: &Clients, pod: &str, app: &str, account: &str| {
            clients.start_as(pod, app, account, &[AUDIENCE, &audience]);
        };
        for account in ["agent", "other", "resource"] {
            start(&self.apps, account, account, account);
        }
        start(&self.apps, "plain", "plain", "default");
        start(&self.apps, "listed", "shop", "agent");
        start(&self.foreign, "resource", "resource", "resource");
    }

    fn prepare_vault(&self) {
        let vault = &self.vault;
        vault.enable_logins();
        vault.write_policy("reader", PERMISSIONS);
        let namespaces = [&self.apps, &self.foreign].map(|clients| clients.namespace.name.as_str());
        let namespaces = namespaces.join(",");
        for (role, policies) in [("reader", "reader"), ("nothing", "")] {
            vault.write_role(role, "agent,other,resource,default", &namespaces, policies);
        }
    }

    fn apply_services(&self) {
        let apps = &self.apps.namespace.name;
        let keys: Value = serde_json::from_str(&self.issuer.jwks()).unwrap();
        for (suffix, identity) in [
            (
                "account",
                json!({"serviceAccount": {"namespace": apps, "name": "agent"}}),
            ),
            (
                "registered",
                json!({"registeredResource": {"serviceAccountName": "resource"}}),
            ),
            (
                "federated",
                json!({"federatedCredential": {
                    "issuer": ISSUER, "subject": "deployment", "audiences": [FEDERATED_AUDIENCE], "jwks": keys,
                }}),
            ),
        ] {
            apply(
                &json!({
                    "apiVersion": "vaultwall.dev/v1alpha1",
                    "kind": "TrustedService",
                    "metadata": {
                        "name": format!("{}-{suffix}", self.name),
                        "ownerReferences": [self.vault.namespace.as_owner()],
                    },
                    "spec": {
                        "scenarios": [{"name": "read", "operations": ["secrets/get"]}],
                        "identities": [identity],
                    },
                })
                .to_string(),
            );
        }
    }

    /// Applies a policy with the bypass and this proof, a rule for the pods with the label `app: shop`, and these
    /// fields. Waits until it is enforced.
    pub(super) fn protect(&self, proof: &str, management: &Value) {
        let names = ["account", "registered", "federated"];
        let names = names.map(|suffix| format!("{}-{suffix}", self.name));
        self.vault.protect(&json!({
            "bypass": "TrustedServices",
            "trustedServices": {"names": names, "proof": proof},
            "management": management,
            "virtualNetworkRules": [{"pods": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.apps.namespace.name}},
                "podSelector": {"matchLabels": {"app": "shop"}},
            }}],
        }));
    }

    /// A pod of the vault's subscription.
    pub(super) fn app(&self, pod: &'static str) -> Caller<'_> {
        self.caller(&self.apps, pod)
    }

    /// A pod of another subscription.
    pub(super) fn foreign(&self, pod: &'static str) -> Caller<'_> {
        self.caller(&self.foreign, pod)
    }

    fn caller<'a>(&self, clients: &'a Clients, pod: &'static str) -> Caller<'a> {
        Caller {
            clients,
            pod,
            identity: None,
            problem: None,
            projected: format!("@/tokens/{}", self.audience().replace(['/', ':'], "-")),
        }
    }

    /// Namespace of the pods in the vault's subscription.
    pub(super) fn apps(&self) -> &str {
        &self.apps.namespace.name
    }

    /// Audience of service accounts' tokens for the vault's firewall.
    fn audience(&self) -> String {
        format!("vaultwall:{}/openbao", self.name)
    }

    /// A token of a service account for the firewall, which is bound to no pod.
    pub(super) fn token_of(&self, account: &str) -> String {
        let audience = format!("--audience={}", self.audience());
        let token = kubectl(&[
            "create",
            "token",
            account,
            "--namespace",
            self.apps(),
            &audience,
        ]);
        token.trim().to_owned()
    }

    /// A token of the other issuer.
    pub(super) fn federated(&self, subject: &str) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        self.issuer.token(&json!({
            "sub": subject, "aud": [FEDERATED_AUDIENCE], "iat": now, "exp": now + 3600,
        }))
    }

    /// Logs in to the vault through the firewall, as soon as the firewall allows it, and returns the vault's token.
    pub(super) fn log_in(&self, caller: &Caller<'_>, role: &str) -> String {
        let [url, body] = self.login(role);
        eventually(&format!("{} logs in as {role}", caller.pod), || {
            let request = ["--method", "POST", "--jwt", "@/tokens/vault"];
            // The answer is not shown: it has a token.
            let refused = match caller.ask(&[&request[..], &["--body", &body, &url]].concat()) {
                Answer::Answered(200, body) => return Ok(client_token(&body)),
                answer => answer,
            };
            Err(format!("{refused:?}"))
        })
    }

    /// URL and body of a login.
    pub(super) fn login(&self, role: &str) -> [String; 2] {
        let path = "/v1/auth/kubernetes/login";
        let body = json!({"role": role, "jwt": "JWT"});
        [
            self.vault.url("openbao-firewall", 8200, path),
            body.to_string(),
        ]
    }
}

fn client_token(body: &str) -> String {
    let answer: Value = serde_json::from_str(body).expect("JSON");
    let token = answer["auth"]["client_token"].as_str();
    token.expect("a token").to_owned()
}
