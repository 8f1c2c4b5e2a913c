//! Who gets in, while everything that a rule is about changes.

use serde_json::json;

use crate::cluster_fixtures::client::Answer;
use crate::cluster_fixtures::vault::{SECRET, WORD};
use crate::cluster_fixtures::{kubectl, object, soon};
use crate::scene::Scene;
use crate::shared;

#[test]
fn the_firewall_follows_pods_labels_and_edits() {
    let _stage = shared();
    let scene = Scene::start("e2e-rules");
    // Without a policy the vault is as open as any pod: what follows is the firewall's work.
    let open = scene.vault.url("openbao", 8200, SECRET);
    let token = &scene.vault.token;
    scene.other.comes_to("client", token, &open, Some(200));

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
    scene.is_walled_in(1);
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
    let shop = &scene.shop.namespace.name;
    let label = |label| kubectl(&["label", "--overwrite", "namespace", shop, label]);
    label("vaultwall.dev/service-endpoint-");
    scene.shop("client", 403);
    label("vaultwall.dev/service-endpoint=enabled");
    scene.shop("client", 200);
}

fn edits(scene: &Scene) {
    scene.protect(&json!({"virtualNetworkRules": [scene.rule("website")]}));
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
    scene.is_walled_in(1);
    scene.protect(&json!({}));
    scene.other(Some(403));
    scene.shop("client", 200);
}
