//! TLS towards clients, while it changes: switched off and on, a Secret that is missing, a certificate that is renewed.

use serde_json::json;

use crate::cluster_fixtures::client::Answer;
use crate::cluster_fixtures::vault::{FIREWALL_TLS, SECRET, proxy};
use crate::cluster_fixtures::{apply, kubectl, soon};
use crate::scene::Scene;
use crate::shared;

#[test]
fn tls_is_switched_off_and_on() {
    let _stage = shared();
    let scene = Scene::protected("e2e-tls");
    let token = &scene.vault.token;
    let plain = scene.url.replace("https", "http");
    let shop = |status| scene.shop.comes_to("client", token, &plain, status);
    shop(None);

    // Whichever way it asks, who is not let in is not: also while some proxies speak TLS and others do not.
    let denied = [&scene.url, &plain].map(|url| scene.other.load("client", token, url));
    scene.protect(&json!({"proxy": proxy(None)}));
    shop(Some(200));
    scene.other.comes_to("client", token, &plain, Some(403));
    let tls = scene.shop.ask("client", token, &scene.url);
    assert_eq!(tls.status(), None, "{tls:?}");

    scene.policy(&json!({}));
    soon("the status says how it is switched on", || {
        let condition = scene.vault.condition("Programmed");
        let is = matches!(
            &condition,
            Some([_, reason, message])
                if reason == "Pending" && message.contains("started before TLS was switched on")
        );
        is.then_some(()).ok_or_else(|| format!("{condition:?}"))
    });
    scene.vault.in_force();
    scene.holds();
    shop(None);
    for counts in denied.map(|load| load.end()) {
        println!("not let in: {}", counts.said.trim());
        let statuses: Vec<u16> = counts.answers.into_keys().collect();
        assert_eq!(statuses, [403], "{}", counts.said);
    }
}

#[test]
fn a_missing_secret_and_a_renewed_certificate_lose_no_request() {
    let _stage = shared();
    let scene = Scene::protected("e2e-certificates");
    let vault = &scene.vault;
    let before = scene.proxies();
    scene.unbroken("a Secret that comes late", || {
        scene.policy(&json!({"proxy": proxy(Some("late"))}));
        soon("a new proxy waits for it", || {
            let events = kubectl(&[
                "get",
                "events",
                "--namespace",
                &vault.namespace.name,
                "--field-selector=reason=FailedMount",
            ]);
            events
                .contains("\"late\" not found")
                .then_some(())
                .ok_or(events)
        });
        // All that decided before still do.
        assert!(scene.proxies().is_superset(&before));
        vault.certify("late", &["openbao-firewall"]);
        vault.in_force();
    });
    scene.protect(&json!({}));
    kubectl(&[
        "delete",
        "secret",
        "late",
        "--namespace",
        &vault.namespace.name,
    ]);

    // The new certificate has a name that the old one does not have.
    apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: renewed, namespace: {0}}}\n\
         spec: {{type: ExternalName, externalName: openbao-firewall.{0}.svc.cluster.local}}\n",
        vault.namespace.name
    ));
    let renewed = vault.url("renewed", 8200, SECRET);
    let asked = || scene.shop.ask("client", &vault.token, &renewed);
    let with_the_old = asked();
    assert!(
        matches!(&with_the_old, Answer::Unreachable(why) if why.contains("certificate")),
        "{with_the_old:?}"
    );
    let before = scene.settled_proxies();
    scene.unbroken("a certificate renewed", || {
        vault.certify(FIREWALL_TLS, &["openbao-firewall", "renewed"]);
        // Nodes bring it to running pods within minutes. Each connection meets one proxy or the other.
        soon("all proxies show the new certificate", || {
            let answers: Vec<_> = (0..12).map(|_| asked()).collect();
            answers
                .iter()
                .all(|answer| answer.status() == Some(200))
                .then_some(())
                .ok_or_else(|| format!("{answers:?}"))
        });
    });
    assert_eq!(scene.proxies(), before, "no proxy was restarted for it");
}
