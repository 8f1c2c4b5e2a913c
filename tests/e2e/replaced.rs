//! Proxies are replaced while clients send requests.
//!
//! An allowed client must not lose a request, and no request of a denied client may reach the vault, even through a
//! proxy that has just started or is terminating.

use testkit::cluster::kubectl;

use crate::scene::Scene;
use crate::shared;

#[test]
fn proxies_are_replaced_under_load() {
    let (scene, _operator) = Scene::protected("e2e-proxies", shared);
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
