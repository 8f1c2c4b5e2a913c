//! Changes of TLS to clients: it is disabled and enabled, a Secret is missing, a certificate is renewed.

use serde_json::json;

use crate::scene::Scene;
use crate::shared;
use testkit::cluster::client::{Answer, Load};
use testkit::cluster::vault::{FIREWALL_TLS, SECRET_PATH, proxy};
use testkit::cluster::{apply, eventually, kubectl};

#[test]
fn tls_is_disabled_and_enabled() {
    let (scene, _operator) = Scene::protected("e2e-tls", shared);
    let token = &scene.vault.token;
    let plain = scene.url.replace("https", "http");
    let shop = |status| scene.shop.eventually_gets("client", token, &plain, status);
    shop(None);

    // A client in no rule is denied with and without TLS, even while only some of the proxies use TLS.
    let denied = [&scene.url, &plain].map(|url| scene.other.load("client", token, url));
    scene.protect(&json!({"proxy": proxy(None)}));
    shop(Some(200));
    scene
        .other
        .eventually_gets("client", token, &plain, Some(403));
    let tls = scene.shop.request("client", token, &scene.url);
    assert_eq!(tls.status(), None, "{tls:?}");

    scene.apply_policy(&json!({}));
    eventually("the status explains how to enable TLS", || {
        let condition = scene.vault.condition("Programmed");
        let is = matches!(
            &condition,
            Some([_, reason, message])
                if reason == "Pending" && message.contains("started before TLS was enabled")
        );
        is.then_some(()).ok_or_else(|| format!("{condition:?}"))
    });
    scene.vault.wait_until_enforced();
    scene.holds();
    shop(None);
    for counts in denied.map(Load::end) {
        println!("denied: {}", counts.json.trim());
        let statuses: Vec<u16> = counts.answers.into_keys().collect();
        assert_eq!(statuses, [403], "{}", counts.json);
    }
}

#[test]
fn a_missing_secret_and_a_renewed_certificate_lose_no_request() {
    let (scene, _operator) = Scene::protected("e2e-certificates", shared);
    let vault = &scene.vault;
    let before = scene.proxies();
    scene.unbroken("a Secret is created late", || {
        scene.apply_policy(&json!({"proxy": proxy(Some("late"))}));
        eventually("a new proxy waits for it", || {
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
        // The earlier proxies still run.
        assert!(scene.proxies().is_superset(&before));
        vault.issue_certificate("late", &["openbao-firewall"]);
        vault.wait_until_enforced();
    });
    scene.protect(&json!({}));
    kubectl(&[
        "delete",
        "secret",
        "late",
        "--namespace",
        &vault.namespace.name,
    ]);

    // The new certificate has an additional name.
    apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: renewed, namespace: {0}}}\n\
         spec: {{type: ExternalName, externalName: openbao-firewall.{0}.svc.cluster.local}}\n",
        vault.namespace.name
    ));
    let renewed = vault.url("renewed", 8200, SECRET_PATH);
    let request = || scene.shop.request("client", &vault.token, &renewed);
    let with_the_old = request();
    assert!(
        matches!(&with_the_old, Answer::Unreachable(why) if why.contains("certificate")),
        "{with_the_old:?}"
    );
    let before = scene.settled_proxies();
    scene.unbroken("a certificate renewed", || {
        vault.issue_certificate(FIREWALL_TLS, &["openbao-firewall", "renewed"]);
        // The kubelet updates running pods within minutes. Each connection reaches one of the proxies.
        eventually("all proxies use the new certificate", || {
            let answers: Vec<_> = (0..12).map(|_| request()).collect();
            answers
                .iter()
                .all(|answer| answer.status() == Some(200))
                .then_some(())
                .ok_or_else(|| format!("{answers:?}"))
        });
    });
    assert_eq!(scene.proxies(), before, "no proxy was restarted for it");
}
