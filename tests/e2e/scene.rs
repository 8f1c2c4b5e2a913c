//! A vault behind its firewall, clients that a rule is about, and clients that none is about.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::cluster_fixtures::client::{Answer, Clients, Counts, OPTED_IN};
use crate::cluster_fixtures::vault::{SECRET, Vault};
use crate::cluster_fixtures::{kubectl, soon};

/// What the tests play in. The namespaces of both kinds of clients have opted in, and each has a pod `client`.
pub struct Scene {
    /// The vault, in a namespace of its own.
    pub vault: Vault,
    /// Clients that the policy's rule is about.
    pub shop: Clients,
    /// Clients that no rule is about.
    pub other: Clients,
    /// The secret, through the firewall.
    pub url: String,
}

/// What came of the requests while something happened.
pub struct Asked {
    /// The client that a rule is about.
    pub shop: Counts,
    /// The one that none is about.
    pub other: Counts,
}

impl Scene {
    /// The vault in the namespace `name`, open to everybody; the clients in `name-shop` and `name-other`.
    pub fn start(name: &str) -> Self {
        let vault = Vault::start(name);
        let clients = |suffix| {
            let clients = Clients::new(&format!("{name}-{suffix}"), OPTED_IN, &vault);
            clients.start("client", "shop");
            clients
        };
        let (shop, other) = (clients("shop"), clients("other"));
        let url = vault.url("openbao-firewall", 8200, SECRET);
        Self {
            vault,
            shop,
            other,
            url,
        }
    }

    /// The same, with the policy that lets the one kind of clients in.
    pub fn protected(name: &str) -> Self {
        let scene = Self::start(name);
        scene.protect(&json!({}));
        scene.holds();
        scene
    }

    /// A rule for the pods of the shop with the label `app: APP`.
    pub fn rule(&self, app: &str) -> Value {
        json!({"pods": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.shop.namespace.name}},
            "podSelector": {"matchLabels": {"app": app}},
        }})
    }

    /// A policy with a rule for the shop's clients; `more` is added to its `spec`, or takes a field's place.
    pub fn policy(&self, more: &Value) {
        let mut spec = json!({"virtualNetworkRules": [self.rule("shop")]});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        self.vault.policy(&spec);
    }

    /// The same, in force.
    pub fn protect(&self, more: &Value) {
        self.policy(more);
        self.vault.in_force();
    }

    /// A client of the shop comes to get this status code.
    pub fn shop(&self, client: &str, status: u16) -> Answer {
        self.shop
            .comes_to(client, &self.vault.token, &self.url, Some(status))
    }

    /// The other client comes to get this status code, or no answer.
    pub fn other(&self, status: Option<u16>) -> Answer {
        self.other
            .comes_to("client", &self.vault.token, &self.url, status)
    }

    /// The shop's client is let in, the other is not, and neither reaches the vault past the firewall.
    pub fn holds(&self) {
        self.shop("client", 200);
        self.other(Some(403));
        self.is_walled_in(1);
    }

    /// Neither the pods of the vault nor its own Service are reached past the firewall, at whichever port.
    pub fn is_walled_in(&self, peers: usize) {
        let pods = (0..peers).map(|peer| self.vault.address_of(peer));
        let service = format!("openbao.{}.svc", self.vault.namespace.name);
        let hosts: Vec<String> = pods.chain([service]).collect();
        let urls = hosts
            .iter()
            .flat_map(|host| [8200, 8201].map(|port| format!("https://{host}:{port}{SECRET}")));
        // Each waits for its answer in vain: all at a time.
        std::thread::scope(|scope| {
            for url in urls {
                for clients in [&self.shop, &self.other] {
                    let url = url.clone();
                    scope.spawn(move || {
                        let answer = clients.ask("client", &self.vault.token, &url);
                        assert!(
                            matches!(&answer, Answer::Unreachable(why) if why.contains("no answer in")),
                            "{url}: {answer:?}"
                        );
                    });
                }
            }
        });
    }

    /// The proxies' pods, also those that are about to end, and how often each was restarted.
    pub fn proxies(&self) -> BTreeSet<String> {
        let pods = kubectl(&[
            "get",
            "pods",
            "--namespace",
            &self.vault.namespace.name,
            "--selector=app.kubernetes.io/name=vaultwall-firewall",
            "--no-headers",
            "--output=custom-columns=:.metadata.name,:.status.containerStatuses[*].restartCount",
        ]);
        pods.lines().map(str::to_owned).collect()
    }

    /// The same, once no others are left than there should be: those that were replaced go on for a while.
    pub fn settled_proxies(&self) -> BTreeSet<String> {
        soon("the old proxies are gone", || {
            let pods = self.proxies();
            (pods.len() == 2)
                .then(|| pods.clone())
                .ok_or_else(|| format!("{pods:?}"))
        })
    }

    /// Both clients ask through the firewall while `act` goes on.
    pub fn under_load(&self, what: &str, act: impl FnOnce()) -> Asked {
        let token = &self.vault.token;
        let shop = self.shop.load("client", token, &self.url);
        let other = self.other.load("client", token, &self.url);
        act();
        let (shop, other) = (shop.end(), other.end());
        println!(
            "{what}: let in {}, not let in {}",
            shop.said.trim(),
            other.said.trim()
        );
        Asked { shop, other }
    }

    /// While `act` goes on, every request of the one client is served and none of the other's is.
    pub fn unbroken(&self, what: &str, act: impl FnOnce()) {
        let asked = self.under_load(what, act);
        for (who, counts, status) in [
            ("a client that is let in", asked.shop, 200),
            ("a client that is not", asked.other, 403),
        ] {
            let only = BTreeMap::from([(status, counts.requests)]);
            assert!(
                counts.failures == 0 && counts.answers == only,
                "{what}: {who}: {}",
                counts.said
            );
        }
    }
}
