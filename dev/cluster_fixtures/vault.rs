//! A vault: `OpenBao` as its chart runs it, with TLS, a secret in it, and a policy in front.

use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use super::{Namespace, RESTRICTED, Said, apply, image_of, kubectl, object, path, run, soon};

/// A path that every data-plane request of the tests asks for.
pub const SECRET: &str = "/v1/secret/data/app";
/// What stands in the secret.
pub const WORD: &str = "greeting-4711";
/// The Secret with the certificate that the firewall shows.
pub const FIREWALL_TLS: &str = "openbao-firewall-tls";

/// A vault in a namespace of its own, which holds its pods to Pod Security `restricted`.
pub struct Vault {
    pub namespace: Namespace,
    /// The token that may do everything.
    pub token: String,
    /// What opens the vault after a start.
    unseal_key: String,
    /// The authority of its certificates.
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Vault {
    /// Starts one with one peer and waits until it holds the secret.
    pub fn start(namespace: &str) -> Self {
        let namespace = Namespace::new(namespace, RESTRICTED);
        let mut vault = Self {
            namespace,
            token: String::new(),
            unseal_key: String::new(),
            authority: authority(),
        };
        vault.certify("openbao-tls", &["openbao"]);
        vault.certify(FIREWALL_TLS, &["openbao-firewall"]);
        let manifest = std::fs::read_to_string(path("dev/cluster_fixtures/openbao.yaml"))
            .expect("the manifest");
        apply(
            &manifest
                .replace("NAMESPACE", &vault.namespace.name)
                .replace("OPENBAO_IMAGE", &image_of("openbao")),
        );
        vault.initialise();
        vault.bao(&["secrets", "enable", "-path=secret", "-version=2", "kv"]);
        vault.bao(&["kv", "put", "-mount=secret", "app", &format!("word={WORD}")]);
        vault
    }

    /// The authority of its certificates, in PEM.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }

    /// Puts a new certificate into a Secret: for these Services, and for a peer that talks to itself.
    pub fn certify(&self, secret: &str, services: &[&str]) {
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
        let answer: Value = soon("OpenBao is initialised", || {
            let said = self.in_pod(0, &initialise);
            serde_json::from_str(&said.out).map_err(|_| said.err)
        });
        let text = |field: &Value| field.as_str().expect("text").to_owned();
        self.token = text(&answer["root_token"]);
        self.unseal_key = text(&answer["unseal_keys_b64"][0]);
        self.unseal(0);
        self.bao(&["login", "-no-print", &self.token]);
    }

    /// Opens a peer after its start; it has to have joined.
    pub fn unseal(&self, peer: usize) {
        soon("the peer is unsealed", || {
            let said = self.in_pod(
                peer,
                &["operator", "unseal", "-format=json", &self.unseal_key],
            );
            let status: Value = serde_json::from_str(&said.out).map_err(|_| said.err.clone())?;
            (status["sealed"] == false).then_some(()).ok_or(said.out)
        });
        soon("the peer is ready", || {
            let pod =
                object("pod", &self.namespace.name, &format!("openbao-{peer}")).ok_or("no pod")?;
            let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
            ready.then_some(()).ok_or_else(|| pod["status"].to_string())
        });
    }

    fn in_pod(&self, peer: usize, command: &[&str]) -> Said {
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

    /// `bao` inside the first pod of the vault, with the token that may do everything.
    pub fn bao(&self, command: &[&str]) -> String {
        soon("OpenBao answers", || {
            let said = self.in_pod(0, command);
            said.good.then_some(said.out).ok_or(said.err)
        })
    }

    /// Runs so many peers; those that are new join and are unsealed.
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

    /// The peers that take part in decisions, as soon as there are so many.
    pub fn voters(&self, count: usize) -> Vec<String> {
        soon("the peers vote", || {
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

    /// Puts a policy in front of it, TLS on both sides; `more` is added to its `spec`, or takes a field's place.
    pub fn policy(&self, more: &Value) {
        let mut spec = json!({
            "targetRef": {"name": "openbao", "port": 8200},
            "vault": {"engines": [{"path": "secret", "type": "KvV2"}]},
            "proxy": proxy(Some(FIREWALL_TLS)),
        });
        for (field, value) in more.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        apply(
            &json!({
                "apiVersion": "vaultwall.dev/v1alpha1",
                "kind": "VaultNetworkPolicy",
                "metadata": {"name": "openbao", "namespace": self.namespace.name},
                "spec": spec,
            })
            .to_string(),
        );
    }

    /// The same, in force.
    pub fn protect(&self, more: &Value) {
        self.policy(more);
        self.in_force();
    }

    /// A condition of the policy: its status, reason and message; none if it is about an earlier generation.
    pub fn condition(&self, kind: &str) -> Option<[String; 3]> {
        let policy = object("vaultnetworkpolicy", &self.namespace.name, "openbao")?;
        let conditions = policy["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|condition| {
            condition["type"] == kind
                && condition["observedGeneration"] == policy["metadata"]["generation"]
        })?;
        let text = |field: &str| condition[field].as_str().expect("text").to_owned();
        Some(["status", "reason", "message"].map(text))
    }

    /// Waits until the policy's newest generation is enforced by every proxy, and all proxies of its Deployment are there.
    pub fn in_force(&self) {
        soon("the policy is in force", || {
            let conditions = ["Accepted", "Programmed"].map(|kind| self.condition(kind));
            let held = |condition: &Option<[String; 3]>| matches!(condition, Some([status, ..]) if status == "True");
            conditions
                .iter()
                .all(held)
                .then_some(())
                .ok_or_else(|| format!("{conditions:?}"))
        });
        soon("all proxies are the newest, and ready", || {
            let deployment = object("deployment", &self.namespace.name, "openbao-firewall");
            let deployment = deployment.ok_or("no Deployment")?;
            let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            let is_so = status["observedGeneration"] == deployment["metadata"]["generation"]
                && counts.iter().all(|count| status[count] == *wanted);
            is_so.then_some(()).ok_or_else(|| status.to_string())
        });
    }

    /// Where clients reach it, by the name of a Service.
    pub fn url(&self, service: &str, port: u16, path: &str) -> String {
        format!("https://{service}.{}.svc:{port}{path}", self.namespace.name)
    }

    /// The address of a peer's pod.
    pub fn address_of(&self, peer: usize) -> String {
        let pod = object("pod", &self.namespace.name, &format!("openbao-{peer}")).expect("the pod");
        pod["status"]["podIP"]
            .as_str()
            .expect("its address")
            .to_owned()
    }
}

/// The settings of the proxies: TLS towards the vault, and towards clients with the certificate in this Secret.
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
