//! Proxies and operator are replaced, and the operator is uninstalled, while clients send requests.
//!
//! An allowed client must not lose a request, and no request of a denied client may reach the vault, even through a
//! proxy that has just started or is terminating.

use serde_json::json;

use crate::scene::Scene;
use crate::{alone, shared};
use testkit::cluster::operator::Release;
use testkit::cluster::{
    eventually, get_object, helm, image_name, images_of_pods, kubectl, operator,
};

/// Installs the current release if the test fails, because other tests need it.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        if std::thread::panicking() {
            Release::current().install();
        }
    }
}

/// Waits until all pods of `NAME` run this image, and no pod runs another.
fn wait_until_all_run(namespace: &str, name: &str, image: &str) {
    eventually(&format!("{name} is {image}"), || {
        let found = images_of_pods(namespace, name);
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
fn the_operator_is_uninstalled_upgraded_and_rolled_back_under_load() {
    let _stage = alone();
    let _restore = Restore;
    let scene = Scene::protected("e2e-operator");
    let namespace = &scene.vault.namespace.name;
    scene.unbroken("operator uninstalled", || {
        operator::uninstall();
        eventually("no replica is left", || {
            let left = images_of_pods(operator::NAMESPACE, "vaultwall");
            left.is_empty()
                .then_some(())
                .ok_or_else(|| format!("{left:?}"))
        });
    });
    scene.holds();
    // Definitions, policies and generated objects are kept.
    assert!(get_object("vaultnetworkpolicy", namespace, "openbao").is_some());
    assert!(get_object("deployment", namespace, "openbao-firewall").is_some());

    // Operator and proxies are replaced each time, without a lost request.
    let (earlier, current) = (Release::earlier("0.0.9"), Release::current());
    let today = image_name("vaultwall");
    let becomes = |what: &str, change: &dyn Fn(), operator: &str, release: &Release| {
        scene.unbroken(what, || {
            change();
            wait_until_all_run(operator::NAMESPACE, "vaultwall", operator);
            wait_until_all_run(namespace, "vaultwall-firewall", &release.proxies);
            scene.vault.wait_until_enforced();
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
    // The new operator enforces a change.
    scene.protect(&json!({"virtualNetworkRules": []}));
    scene.shop("client", 403);
}
