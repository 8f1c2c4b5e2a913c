//! Proxies and operator are replaced, and the operator is taken away, while clients ask.
//!
//! Who is let in must not lose a request, and who is not must not get one through: also not to a proxy that has just
//! started or is about to end.

use serde_json::json;

use crate::cluster_fixtures::operator::Release;
use crate::cluster_fixtures::{helm, image_of, images, kubectl, object, operator, soon};
use crate::scene::Scene;
use crate::{alone, shared};

/// Whatever went wrong, the others find the operator as they expect it.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        if std::thread::panicking() {
            Release::current().install();
        }
    }
}

/// Waits until all pods of `NAME` run this image, and none of an earlier one is left.
fn all_run(namespace: &str, name: &str, image: &str) {
    soon(&format!("{name} is {image}"), || {
        let found = images(namespace, name);
        (found == [image])
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    });
}

#[test]
fn proxies_are_replaced_under_load() {
    let _stage = shared();
    let scene = Scene::protected("e2e-proxies");
    let namespace = &scene.vault.namespace.name;
    let rollout = |verb: &str, more: &[&str]| {
        let arguments = [
            "rollout",
            verb,
            "deployment/openbao-firewall",
            "--namespace",
            namespace,
        ];
        kubectl(&[&arguments[..], more].concat())
    };
    scene.unbroken("rolling restart of the proxies", || {
        rollout("restart", &[]);
        rollout("status", &["--timeout=180s"]);
        scene.settled_proxies();
    });
    scene.holds();
}

#[test]
fn the_operator_is_taken_away_upgraded_and_rolled_back() {
    let _stage = alone();
    let _back = Back;
    let scene = Scene::protected("e2e-operator");
    let namespace = &scene.vault.namespace.name;
    scene.unbroken("operator uninstalled", || {
        operator::uninstall();
        soon("no replica is left", || {
            let left = images(operator::NAMESPACE, "vaultwall");
            left.is_empty()
                .then_some(())
                .ok_or_else(|| format!("{left:?}"))
        });
    });
    scene.holds();
    // What is kept: definitions, policies and all that was made of them.
    assert!(object("vaultnetworkpolicy", namespace, "openbao").is_some());
    assert!(object("deployment", namespace, "openbao-firewall").is_some());

    // Operator and proxies are replaced each time, and nobody notices.
    let (earlier, current) = (Release::earlier("0.0.9"), Release::current());
    let today = image_of("vaultwall");
    let becomes = |what: &str, change: &dyn Fn(), operator: &str, release: &Release| {
        scene.unbroken(what, || {
            change();
            all_run(operator::NAMESPACE, "vaultwall", operator);
            all_run(namespace, "vaultwall-firewall", &release.proxies);
            scene.vault.in_force();
        });
    };
    let before = "vaultwall:0.0.9";
    becomes(
        "earlier release installed",
        &|| earlier.install(),
        before,
        &earlier,
    );
    becomes("operator upgraded", &|| current.install(), &today, &current);
    becomes(
        "operator rolled back",
        &operator::rollback,
        before,
        &earlier,
    );
    becomes(
        "operator upgraded again",
        &|| current.install(),
        &today,
        &current,
    );
    let history = helm(&["history", "vaultwall", "--namespace", operator::NAMESPACE]);
    assert!(
        history.contains("vaultwall-0.0.9") && history.contains("Rollback to 1"),
        "{history}"
    );
    // The new operator's edits are enforced.
    scene.protect(&json!({"virtualNetworkRules": []}));
    scene.shop("client", 403);
}
