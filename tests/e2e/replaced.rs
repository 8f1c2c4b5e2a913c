//! Proxies and operator are replaced, and the operator is taken away, while clients ask.
//!
//! Who is let in must not lose a request, and who is not must not get one through: also not to a proxy that has just
//! started or is about to end.

use std::collections::BTreeMap;

use serde_json::json;

use crate::on_kind::client::{Clients, Counts, OPTED_IN};
use crate::on_kind::vault::{SECRET, Vault};
use crate::on_kind::{helm, kubectl, object, operator, path, soon};
use crate::{alone, rule, shared};

/// A vault with a client that is let in and one that is not; both ask all the time.
struct Scene {
    vault: Vault,
    shop: Clients,
    other: Clients,
    url: String,
}

impl Scene {
    fn start(name: &str) -> Self {
        let vault = Vault::start(name);
        let shop = format!("{name}-shop");
        let shop = Clients::new(&shop, OPTED_IN, &vault);
        let other = Clients::new(&format!("{name}-other"), OPTED_IN, &vault);
        shop.start("client", "shop");
        other.start("client", "shop");
        vault.protect(&json!({"virtualNetworkRules": [rule(&shop.namespace.name, "shop")]}));
        let url = vault.url("openbao-firewall", 8200, SECRET);
        let scene = Self {
            vault,
            shop,
            other,
            url,
        };
        scene.holds();
        scene
    }

    fn holds(&self) {
        let token = &self.vault.token;
        self.shop.comes_to("client", token, &self.url, Some(200));
        self.other.comes_to("client", token, &self.url, Some(403));
        let direct = self.vault.url("openbao", 8200, SECRET);
        self.other.comes_to("client", token, &direct, None);
    }

    /// While `act` goes on, every request of the one client is served and none of the other's is.
    fn under_load(&self, what: &str, act: impl FnOnce()) {
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
        let only = |counts: &Counts, status| {
            counts.failures == 0 && counts.answers == BTreeMap::from([(status, counts.requests)])
        };
        assert!(
            only(&shop, 200),
            "{what}: a client that is let in: {}",
            shop.said
        );
        assert!(
            only(&other, 403),
            "{what}: a client that is not: {}",
            other.said
        );
    }
}

/// Whatever went wrong, the others find the operator as they expect it.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        if std::thread::panicking() {
            operator::install_current();
        }
    }
}

#[test]
fn proxies_are_replaced_under_load() {
    let _stage = shared();
    let scene = Scene::start("e2e-proxies");
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
    scene.under_load("rolling restart of the proxies", || {
        rollout("restart", &[]);
        rollout("status", &["--timeout=180s"]);
        // The old ones go on for a while; they are gone when only the newest are left.
        soon("the old proxies are gone", || {
            let selector = "--selector=app.kubernetes.io/name=vaultwall-firewall";
            let pods = kubectl(&[
                "get",
                "pods",
                "--namespace",
                namespace,
                selector,
                "--output=name",
            ]);
            (pods.lines().count() == 2).then_some(()).ok_or(pods)
        });
    });
    scene.holds();
}

#[test]
fn the_operator_is_upgraded_and_taken_away() {
    let _stage = alone();
    let _back = Back;
    let scene = Scene::start("e2e-operator");
    scene.under_load("operator uninstalled", || {
        operator::uninstall();
        soon("no replica is left", || {
            let pods = kubectl(&[
                "get",
                "pods",
                "--namespace",
                operator::NAMESPACE,
                "--output=name",
            ]);
            pods.is_empty().then_some(()).ok_or(pods)
        });
    });
    scene.holds();
    // What is kept: definitions, policies and all that was made of them.
    assert!(object("vaultnetworkpolicy", &scene.vault.namespace.name, "openbao").is_some());
    assert!(
        object(
            "deployment",
            &scene.vault.namespace.name,
            "openbao-firewall"
        )
        .is_some()
    );

    let earlier = |chart: &str| path(&format!("tests/charts/earlier/{chart}-0.0.9.tgz"));
    scene.under_load("earlier charts installed", || {
        operator::install(&earlier("vaultwall-crds"), &earlier("vaultwall"));
        scene.vault.in_force();
    });
    scene.under_load("operator upgraded", || {
        operator::install_current();
        scene.vault.in_force();
    });
    let history = helm(&["history", "vaultwall", "--namespace", operator::NAMESPACE]);
    assert!(
        history.contains("vaultwall-0.0.9") && history.contains("vaultwall-0.1.0"),
        "{history}"
    );
    // The new operator's edits are enforced.
    scene.vault.protect(&json!({"virtualNetworkRules": []}));
    scene
        .shop
        .comes_to("client", &scene.vault.token, &scene.url, Some(403));
}
