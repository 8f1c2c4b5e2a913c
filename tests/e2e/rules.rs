//! Allowed clients, while pods, labels, namespaces and rules change.

use serde_json::json;

use crate::scene::Scene;
use crate::shared;
use testkit::cluster::client::Answer;
use testkit::cluster::vault::{SECRET_PATH, SECRET_VALUE};
use testkit::cluster::{get_object, kubectl};
use testkit::tokens::MARK;

#[test]
fn the_firewall_follows_pods_labels_and_edits() {
    let scene = Scene::start("e2e-rules");
    // Without a policy every pod reaches the vault.
    let open = scene.vault.url("openbao", 8200, SECRET_PATH);
    let token = &scene.vault.token;
    scene
        .other
        .eventually_gets("client", token, &open, Some(200));

    let _operator = shared();
    scene.protect(&json!({}));
    let allowed = scene.shop("client", 200);
    assert!(
        matches!(&allowed, Answer::Answered(_, body) if body.contains(SECRET_VALUE)),
        "{allowed:?}"
    );
    let denied = scene.other(Some(403));
    assert!(
        matches!(&denied, Answer::Answered(_, body) if body.contains("ForbiddenByFirewall")),
        "{denied:?}"
    );
    // Both clients have a valid token. The vault's own answer to an invalid one is passed on.
    let wrong = format!("wrong-{MARK}");
    let wrong = scene.shop.request("client", &wrong, &scene.url);
    assert!(
        matches!(&wrong, Answer::Answered(403, body) if body.contains("permission denied")),
        "{wrong:?}"
    );
    scene.vault_is_unreachable(1);
    management(&scene);
    listed_by_kubectl(&scene);

    pods(&scene);
    namespace(&scene);
    edits(&scene);
}

/// On the management endpoint a denied client with a token reads the vault's mounts, but no secret.
fn management(scene: &Scene) {
    let management = |path| scene.vault.url("openbao-firewall", 8300, path);
    let ask = |path| {
        scene
            .other
            .request("client", &scene.vault.token, &management(path))
            .status()
    };
    assert_eq!(ask("/v1/sys/mounts"), Some(200));
    assert_eq!(ask(SECRET_PATH), Some(403));
}

fn listed_by_kubectl(scene: &Scene) {
    let table = kubectl(&["get", "vnp", "--namespace", &scene.vault.namespace.name]);
    let line = table.lines().nth(1).unwrap_or_default();
    assert!(
        line.starts_with("openbao ") && line.contains("True"),
        "{table}"
    );
}

/// Number of addresses of the policy's rules without pods, from its status.
fn addresses(scene: &Scene) -> u64 {
    let policy = get_object(
        "vaultwall.dev/v1alpha1/vaultnetworkpolicies",
        &scene.vault.namespace.name,
        "openbao",
    )
    .unwrap();
    let counted = &policy["status"]["addresses"];
    counted
        .as_u64()
        .unwrap_or_else(|| panic!("{}", policy["status"]))
}

fn pods(scene: &Scene) {
    scene.shop.start("second", "shop");
    scene.shop("second", 200);
    // The label is changed, and set again.
    scene.shop.label("second", "app=website");
    scene.shop("second", 403);
    scene.shop.label("second", "app=shop");
    scene.shop("second", 200);
    // The status does not show which pods there are in other namespaces.
    assert_eq!(addresses(scene), 0);
    scene.shop.stop("second");
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

    // Dropped packets are never answered, so that no connection is made.
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
        .eventually_gets("client", &scene.vault.token, &scene.url, None);
    scene.shop.label("client", "app=shop");
    scene.shop("client", 200);

    scene.protect(&json!({"defaultAction": "Allow"}));
    scene.other(Some(200));
    scene.vault_is_unreachable(1);
    scene.protect(&json!({}));
    scene.other(Some(403));
    scene.shop("client", 200);
}
