//! The operator is uninstalled, upgraded and rolled back while clients send requests: an allowed client loses none, and
//! a denied one gets none through.
//!
//! No other test can use the operator meanwhile. Tests start in alphabetical order, so this one starts before those
//! that take long; they start their vaults and wait.

use serde_json::json;
use testkit::cluster::operator::{self, Release};
use testkit::cluster::{eventually, get_object, helm, image_name, images_of_pods};

use crate::alone;
use crate::scene::Scene;

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
fn the_operator_is_uninstalled_upgraded_and_rolled_back_under_load() {
    let _operator = alone();
    let _restore = Restore;
    let (scene, ()) = Scene::protected("e2e-operator", || ());
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
    assert!(
        get_object(
            "vaultwall.dev/v1alpha1/vaultnetworkpolicies",
            namespace,
            "openbao"
        )
        .is_some()
    );
    assert!(get_object("apps/v1/deployments", namespace, "openbao-firewall").is_some());

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
