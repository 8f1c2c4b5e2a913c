//! A vault behind its firewall, clients in a rule, and clients in no rule.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use testkit::cluster::client::{Answer, Clients, Counts, OPTED_IN};
use testkit::cluster::vault::{SECRET_PATH, Vault};
use testkit::cluster::{eventually, list_objects};

/// A vault and two kinds of clients. Their namespaces have opted in, and each has a pod `client`.
pub struct Scene {
    /// The vault, in its own namespace.
    pub vault: Vault,
    /// Clients in the policy's rule.
    pub shop: Clients,
    /// Clients in no rule.
    pub other: Clients,
    /// URL of the secret, through the firewall.
    pub url: String,
}

/// Counts of the requests during an action.
pub struct LoadCounts {
    /// Requests of the client in a rule.
    pub shop: Counts,
    /// Requests of the client in no rule.
    pub other: Counts,
}

impl Scene {
    /// Starts the vault in the namespace `name`, without a policy, and the clients in `name-shop` and `name-other`.
    pub fn start(name: &str) -> Self {
        let vault = Vault::start(name);
        let clients = |suffix| {
            let clients = Clients::new(&format!("{name}-{suffix}"), OPTED_IN, &vault);
            clients.start("client", "shop");
            clients
        };
        let (shop, other) = (clients("shop"), clients("other"));
        let url = vault.url("openbao-firewall", 8200, SECRET_PATH);
        Self {
            vault,
            shop,
            other,
            url,
        }
    }

    /// Starts them and then, when `operator` has returned, protects the vault with a policy that allows the clients of
    /// the shop. A test that waits for the operator has started its vault meanwhile.
    pub fn protected<Guard>(name: &str, operator: fn() -> Guard) -> (Self, Guard) {
        let scene = Self::start(name);
        let guard = operator();
        scene.protect(&json!({}));
        scene.holds();
        (scene, guard)
    }

    /// Rule for the pods of the shop with the label `app: APP`.
    pub fn rule(&self, app: &str) -> Value {
        json!({"pods": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.shop.namespace.name}},
            "podSelector": {"matchLabels": {"app": app}},
        }})
    }

    /// Applies a policy with a rule for the shop's clients; the fields of `more` are added to its `spec` or replace its
    /// fields.
    pub fn apply_policy(&self, more: &Value) {
        self.vault.apply_policy(&self.fields(more));
    }

    /// Returns the policy that [`Scene::apply_policy`] applies.
    pub fn policy(&self, more: &Value) -> Value {
        self.vault.policy(&self.fields(more))
    }

    fn fields(&self, more: &Value) -> Value {
        let mut spec = json!({"virtualNetworkRules": [self.rule("shop")]});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    }

    /// Applies the policy and waits until it is enforced.
    pub fn protect(&self, more: &Value) {
        self.apply_policy(more);
        self.vault.wait_until_enforced();
    }

    /// Waits until a client of the shop gets this status code.
    pub fn shop(&self, client: &str, status: u16) -> Answer {
        self.shop
            .eventually_gets(client, &self.vault.token, &self.url, Some(status))
    }

    /// Waits until the other client gets this status code, or no answer.
    pub fn other(&self, status: Option<u16>) -> Answer {
        self.other
            .eventually_gets("client", &self.vault.token, &self.url, status)
    }

    /// Checks that the shop's client is allowed, the other is denied, and neither reaches the vault past the firewall.
    pub fn holds(&self) {
        self.shop("client", 200);
        self.other(Some(403));
        self.vault_is_unreachable(1);
    }

    /// Checks that no client reaches the pods of the vault or its own Service past the firewall, on any port.
    pub fn vault_is_unreachable(&self, peers: usize) {
        let pods = (0..peers).map(|peer| self.vault.address_of(peer));
        let service = format!("openbao.{}.svc", self.vault.namespace.name);
        let hosts: Vec<String> = pods.chain([service]).collect();
        let urls = hosts.iter().flat_map(|host| {
            [8200, 8201].map(|port| format!("https://{host}:{port}{SECRET_PATH}"))
        });
        // All at the same time, because each waits until its timeout.
        std::thread::scope(|scope| {
            for url in urls {
                for clients in [&self.shop, &self.other] {
                    let url = url.clone();
                    scope.spawn(move || {
                        let answer = clients.request("client", &self.vault.token, &url);
                        assert!(
                            matches!(&answer, Answer::Unreachable(why) if why.contains("no answer in")),
                            "{url}: {answer:?}"
                        );
                    });
                }
            }
        });
    }

    /// Pods of the proxies, terminating ones too, with the number of restarts.
    pub fn proxies(&self) -> BTreeSet<String> {
        let labels = "app.kubernetes.io/name=vaultwall-firewall";
        let pods = list_objects("v1/pods", &self.vault.namespace.name, labels);
        let named = pods.iter().map(|pod| {
            let containers = pod["status"]["containerStatuses"].as_array();
            let restarts: Vec<_> = containers
                .into_iter()
                .flatten()
                .map(|container| &container["restartCount"])
                .collect();
            format!("{} {restarts:?}", pod["metadata"]["name"])
        });
        named.collect()
    }

    /// Pods of the proxies, as soon as the replaced ones are deleted: they serve for some time.
    pub fn settled_proxies(&self) -> BTreeSet<String> {
        eventually("the replaced proxies are deleted", || {
            let pods = self.proxies();
            (pods.len() == 2)
                .then(|| pods.clone())
                .ok_or_else(|| format!("{pods:?}"))
        })
    }

    /// Sends requests of both clients through the firewall while `act` runs.
    pub fn under_load(&self, what: &str, act: impl FnOnce()) -> LoadCounts {
        let token = &self.vault.token;
        let shop = self.shop.load("client", token, &self.url);
        let other = self.other.load("client", token, &self.url);
        act();
        let (shop, other) = (shop.end(), other.end());
        println!(
            "{what}: allowed {}, denied {}",
            shop.json.trim(),
            other.json.trim()
        );
        LoadCounts { shop, other }
    }

    /// Checks that while `act` runs, every request of the one client is served and every one of the other is denied.
    pub fn unbroken(&self, what: &str, act: impl FnOnce()) {
        let asked = self.under_load(what, act);
        for (who, counts, status) in [
            ("the allowed client", asked.shop, 200),
            ("the denied client", asked.other, 403),
        ] {
            let only = BTreeMap::from([(status, counts.requests)]);
            assert!(
                counts.failures == 0 && counts.answers == only,
                "{what}: {who}: {}",
                counts.json
            );
        }
    }
}
