//! Who gets in, while everything that a rule is about changes.

use serde_json::{Value, json};

use crate::on_kind::client::{Answer, Clients, OPTED_IN};
use crate::on_kind::vault::{SECRET, Vault, WORD};
use crate::on_kind::{kubectl, object, soon};
use crate::{rule, shared};

const SHOP: &str = "e2e-rules-shop";
const OTHER: &str = "e2e-rules-other";

/// One vault, a client that a rule is about, and one of the same label in a namespace that no rule is about.
struct Scene {
    vault: Vault,
    shop: Clients,
    other: Clients,
    url: String,
}

impl Scene {
    fn shop(&self, client: &str, status: u16) -> Answer {
        self.shop
            .comes_to(client, &self.vault.token, &self.url, Some(status))
    }

    fn other(&self, status: Option<u16>) -> Answer {
        self.other
            .comes_to("client", &self.vault.token, &self.url, status)
    }

    fn protect(&self, more: &Value) {
        let mut spec = json!({"virtualNetworkRules": [rule(SHOP, "shop")]});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        self.vault.protect(&spec);
    }

    /// Neither a pod of the vault nor its own Service is reached past the firewall, at whichever port.
    fn is_walled_in(&self) {
        let pod = self.vault.address_of(0);
        for port in [8200, 8201] {
            for url in [
                self.vault.url("openbao", port, SECRET),
                format!("https://{pod}:{port}{SECRET}"),
            ] {
                for (clients, client) in [(&self.shop, "client"), (&self.other, "client")] {
                    let answer = clients.ask(client, &self.vault.token, &url);
                    assert!(
                        matches!(&answer, Answer::Unreachable(why) if why.contains("no answer in")),
                        "{url}: {answer:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_firewall_follows_pods_labels_and_edits() {
    let _stage = shared();
    let vault = Vault::start("e2e-rules");
    let shop = Clients::new(SHOP, OPTED_IN, &vault);
    let other = Clients::new(OTHER, "", &vault);
    for clients in [&shop, &other] {
        clients.start("client", "shop");
    }
    let url = vault.url("openbao-firewall", 8200, SECRET);
    // Without a policy the vault is as open as any pod: what follows is the firewall's work.
    let open = vault.url("openbao", 8200, SECRET);
    other.comes_to("client", &vault.token, &open, Some(200));

    let scene = Scene {
        vault,
        shop,
        other,
        url,
    };
    scene.protect(&json!({}));
    let allowed = scene.shop("client", 200);
    assert!(
        matches!(&allowed, Answer::Answered(_, body) if body.contains(WORD)),
        "{allowed:?}"
    );
    let denied = scene.other(Some(403));
    assert!(
        matches!(&denied, Answer::Answered(_, body) if body.contains("ForbiddenByFirewall")),
        "{denied:?}"
    );
    // Both have the right token; the vault's own answer to a wrong one comes through.
    let wrong = scene.shop.ask("client", "wrong", &scene.url);
    assert!(
        matches!(&wrong, Answer::Answered(403, body) if body.contains("permission denied")),
        "{wrong:?}"
    );
    scene.is_walled_in();
    management(&scene);
    seen_at_a_glance(&scene);

    pods(&scene);
    namespace(&scene);
    edits(&scene);
}

/// Whoever has a token sees the vault's mounts on the management endpoint, and no secret.
fn management(scene: &Scene) {
    let management = |path| scene.vault.url("openbao-firewall", 8300, path);
    let ask = |path| {
        scene
            .other
            .ask("client", &scene.vault.token, &management(path))
            .status()
    };
    assert_eq!(ask("/v1/sys/mounts"), Some(200));
    assert_eq!(ask(SECRET), Some(403));
}

fn seen_at_a_glance(scene: &Scene) {
    let table = kubectl(&["get", "vnp", "--namespace", &scene.vault.namespace.name]);
    let line = table.lines().nth(1).unwrap_or_default();
    assert!(
        line.starts_with("openbao ") && line.contains("True"),
        "{table}"
    );
}

/// How many addresses the rules of the policy come to, as its status says.
fn addresses(scene: &Scene) -> u64 {
    let policy = object("vaultnetworkpolicy", &scene.vault.namespace.name, "openbao").unwrap();
    let counted = &policy["status"]["addresses"];
    counted
        .as_u64()
        .unwrap_or_else(|| panic!("{}", policy["status"]))
}

fn pods(scene: &Scene) {
    scene.shop.start("second", "shop");
    scene.shop("second", 200);
    // A label goes, and comes back.
    scene.shop.label("second", "app=website");
    scene.shop("second", 403);
    scene.shop.label("second", "app=shop");
    scene.shop("second", 200);
    soon("two addresses are counted", || {
        let count = addresses(scene);
        (count == 2).then_some(()).ok_or_else(|| count.to_string())
    });
    // Its address may be another pod's soon.
    scene.shop.stop("second");
    soon("one address is left", || {
        let count = addresses(scene);
        (count == 1).then_some(()).ok_or_else(|| count.to_string())
    });
    scene.shop("client", 200);
}

fn namespace(scene: &Scene) {
    let label = |label| kubectl(&["label", "--overwrite", "namespace", SHOP, label]);
    label("vaultwall.dev/service-endpoint-");
    scene.shop("client", 403);
    label("vaultwall.dev/service-endpoint=enabled");
    scene.shop("client", 200);
}

fn edits(scene: &Scene) {
    scene.protect(&json!({"virtualNetworkRules": [rule(SHOP, "website")]}));
    scene.shop("client", 403);
    scene.protect(&json!({}));
    scene.shop("client", 200);

    // Dropped packets are never answered: not even a connection is made.
    scene.protect(&json!({"denial": "Drop"}));
    let dropped = scene.other(None);
    assert!(
        matches!(&dropped, Answer::Unreachable(why) if why.contains("no answer in")),
        "{dropped:?}"
    );
    scene.shop("client", 200);
    scene.shop.label("client", "app=website");
    scene
        .shop
        .comes_to("client", &scene.vault.token, &scene.url, None);
    scene.shop.label("client", "app=shop");
    scene.shop("client", 200);

    scene.protect(&json!({"defaultAction": "Allow"}));
    scene.other(Some(200));
    scene.is_walled_in();
    scene.protect(&json!({}));
    scene.other(Some(403));
    scene.shop("client", 200);
}
