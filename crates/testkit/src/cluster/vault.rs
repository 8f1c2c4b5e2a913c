//! A vault: `OpenBao` as its chart runs it, with TLS, a secret, and a policy.

use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use super::{
    CommandOutput, Namespace, RESTRICTED, apply, eventually, get_object, image_name, kubectl, path,
    run,
};
use crate::tokens;

/// Path of the secret: all requests of the tests to the data plane read it.
pub const SECRET_PATH: &str = "/v1/secret/data/app";
/// Value in the secret.
pub const SECRET_VALUE: &str = "greeting-4711";
/// Name of the Secret with the certificate of the firewall.
pub const FIREWALL_TLS: &str = "openbao-firewall-tls";

/// A vault in its own namespace, which enforces Pod Security `restricted`.
pub struct Vault {
    /// Namespace of the vault.
    pub namespace: Namespace,
    /// The root token.
    pub token: String,
    /// Key that unseals the vault after a start.
    unseal_key: String,
    /// Certificate authority of its certificates.
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Vault {
    /// Starts a vault with one peer, and writes the secret.
    pub fn start(namespace: &str) -> Self {
        let namespace = Namespace::new(namespace, RESTRICTED);
        let mut vault = Self {
            namespace,
            token: String::new(),
            unseal_key: String::new(),
            authority: authority(),
        };
        vault.issue_certificate("openbao-tls", &["openbao"]);
        vault.issue_certificate(FIREWALL_TLS, &["openbao-firewall"]);
        let manifest = std::fs::read_to_string(path("crates/testkit/src/cluster/openbao.yaml"))
            .expect("the manifest");
        apply(
            &manifest
                .replace("NAMESPACE", &vault.namespace.name)
                .replace("OPENBAO_IMAGE", &image_name("openbao")),
        );
        vault.initialise();
        vault.bao(&["secrets", "enable", "-path=secret", "-version=2", "kv"]);
        vault.bao(&[
            "kv",
            "put",
            "-mount=secret",
            "app",
            &format!("word={SECRET_VALUE}"),
        ]);
        vault
    }

    /// Certificate authority of its certificates, in PEM.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }

    /// Writes a new certificate to a Secret: for these Services and for the loopback address.
    pub fn issue_certificate(&self, secret: &str, services: &[&str]) {
        let namespace = &self.namespace.name;
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        for service in services {
            names.extend([format!("{service}.{namespace}.svc"), (*service).to_owned()]);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names).expect("names");
        let certificate = certificate
            .signed_by(&key, &self.authority)
            .expect("a certificate");
        let data = |text: String| json!(ByteString(text.into_bytes()));
        apply(
            &json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {"name": secret, "namespace": namespace},
                "data": {
                    "tls.crt": data(certificate.pem()),
                    "tls.key": data(key.serialize_pem()),
                    "ca.crt": data(self.authority()),
                },
            })
            .to_string(),
        );
    }

    fn initialise(&mut self) {
        let initialise = [
            "operator",
            "init",
            "-key-shares=1",
            "-key-threshold=1",
            "-format=json",
        ];
        let answer: Value = eventually("OpenBao is initialised", || {
            let output = self.in_pod(0, &initialise);
            serde_json::from_str(&output.stdout).map_err(|_| output.stderr)
        });
        let text = |field: &Value| field.as_str().expect("text").to_owned();
        self.token = text(&answer["root_token"]);
        // The message must not show it.
        let is_recognised = tokens::find(&self.token) == Some(&*self.token);
        assert!(is_recognised, "a search would not find the root token");
        self.unseal_key = text(&answer["unseal_keys_b64"][0]);
        self.unseal(0);
        self.bao(&["login", "-no-print", &self.token]);
    }

    /// Unseals a peer, which must have joined, and waits until it is ready.
    pub fn unseal(&self, peer: usize) {
        eventually("the peer is unsealed", || {
            let output = self.in_pod(
                peer,
                &["operator", "unseal", "-format=json", &self.unseal_key],
            );
            let status: Value =
                serde_json::from_str(&output.stdout).map_err(|_| output.stderr.clone())?;
            (status["sealed"] == false)
                .then_some(())
                .ok_or(output.stdout)
        });
        eventually("the peer is ready", || {
            let pod = get_object("v1/pods", &self.namespace.name, &format!("openbao-{peer}"))
                .ok_or("no pod")?;
            let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
            ready.then_some(()).ok_or_else(|| pod["status"].to_string())
        });
    }

    fn in_pod(&self, peer: usize, command: &[&str]) -> CommandOutput {
        let pod = format!("openbao-{peer}");
        let exec = [
            "exec",
            "--namespace",
            &self.namespace.name,
            &pod,
            "--",
            "/bin/bao",
        ];
        run("kubectl", &[&exec[..], command].concat())
    }

    /// Runs `bao` with the root token in the first pod until it succeeds, and returns its standard output.
    pub fn bao(&self, command: &[&str]) -> String {
        eventually("OpenBao answers", || {
            let output = self.in_pod(0, command);
            output
                .succeeded
                .then_some(output.stdout)
                .ok_or(output.stderr)
        })
    }

    /// Changes the number of peers; unseals the new ones.
    pub fn scale(&self, from: usize, to: usize) {
        let replicas = format!("--replicas={to}");
        kubectl(&[
            "scale",
            "statefulset/openbao",
            "--namespace",
            &self.namespace.name,
            &replicas,
        ]);
        for peer in from..to {
            self.unseal(peer);
        }
    }

    /// Waits until the vault has this number of voting peers, and returns their names.
    pub fn voters(&self, count: usize) -> Vec<String> {
        eventually("the number of voting peers", || {
            let voters = self.voters_now();
            (voters.len() == count)
                .then(|| voters.clone())
                .ok_or_else(|| format!("{voters:?}"))
        })
    }

    fn voters_now(&self) -> Vec<String> {
        let answer = self.bao(&["operator", "raft", "list-peers", "-format=json"]);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let servers = answer["data"]["config"]["servers"]
            .as_array()
            .expect("servers");
        let voters = servers.iter().filter(|server| server["voter"] == true);
        let mut names: Vec<String> = voters
            .map(|server| server["node_id"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    }

    /// Applies a policy with TLS on both sides; the fields of `more` are added to its `spec` or replace its fields.
    pub fn apply_policy(&self, more: &Value) {
        apply(&self.policy(more).to_string());
    }

    /// Returns the policy that [`Vault::apply_policy`] applies.
    pub fn policy(&self, more: &Value) -> Value {
        let mut spec = json!({
            "targetRef": {"name": "openbao", "port": 8200},
            "vault": {"engines": [{"path": "secret", "type": "KvV2"}]},
            "proxy": proxy(Some(FIREWALL_TLS)),
        });
        for (field, value) in more.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        json!({
            "apiVersion": "vaultwall.dev/v1alpha1",
            "kind": "VaultNetworkPolicy",
            "metadata": {"name": "openbao", "namespace": self.namespace.name},
            "spec": spec,
        })
    }

    /// Applies a policy and waits until it is enforced.
    pub fn protect(&self, more: &Value) {
        self.apply_policy(more);
        self.wait_until_enforced();
    }

    /// Status, reason and message of a condition of the policy; none if it is about an earlier generation.
    pub fn condition(&self, kind: &str) -> Option<[String; 3]> {
        let policy = get_object(
            "vaultwall.dev/v1alpha1/vaultnetworkpolicies",
            &self.namespace.name,
            "openbao",
        )?;
        let conditions = policy["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|condition| {
            condition["type"] == kind
                && condition["observedGeneration"] == policy["metadata"]["generation"]
        })?;
        let text = |field: &str| condition[field].as_str().expect("text").to_owned();
        Some(["status", "reason", "message"].map(text))
    }

    /// Waits until every proxy enforces the policy's newest generation, and the rollout of the proxies is complete.
    pub fn wait_until_enforced(&self) {
        eventually("the policy is enforced", || {
            let conditions = ["Accepted", "Programmed"].map(|kind| self.condition(kind));
            let is_true = |condition: &Option<[String; 3]>| matches!(condition, Some([status, ..]) if status == "True");
            conditions
                .iter()
                .all(is_true)
                .then_some(())
                .ok_or_else(|| format!("{conditions:?}"))
        });
        eventually("the rollout of the proxies is complete", || {
            let deployment = get_object(
                "apps/v1/deployments",
                &self.namespace.name,
                "openbao-firewall",
            );
            let deployment = deployment.ok_or("no Deployment")?;
            let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            let is_so = status["observedGeneration"] == deployment["metadata"]["generation"]
                && counts.iter().all(|count| status[count] == *wanted);
            is_so.then_some(()).ok_or_else(|| status.to_string())
        });
    }

    /// URL of a path by the name of a Service.
    pub fn url(&self, service: &str, port: u16, path: &str) -> String {
        format!("https://{service}.{}.svc:{port}{path}", self.namespace.name)
    }

    /// IP address of a peer's pod.
    pub fn address_of(&self, peer: usize) -> String {
        let pod = get_object("v1/pods", &self.namespace.name, &format!("openbao-{peer}"))
            .expect("the pod");
        pod["status"]["podIP"]
            .as_str()
            .expect("its address")
            .to_owned()
    }
}

/// Settings of the proxies: TLS to the vault, and TLS to clients with the certificate in this Secret, if any.
pub fn proxy(tls: Option<&str>) -> Value {
    let mut proxy = json!({
        "upstreamTls": {"caSecretName": "openbao-tls"},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
    });
    if let Some(secret) = tls {
        proxy["tls"] = json!({"secretName": secret});
    }
    proxy
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "the vault's owner");
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(parameters, key).expect("an authority")
}
