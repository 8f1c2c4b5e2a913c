//! TLS on both sides of a real Envoy: `bao` in front of it, a real `OpenBao` with a certificate of its own behind it, and
//! certificates that are renewed as a kubelet renews a mounted Secret.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../loopback/mod.rs"]
mod loopback;
mod scene;
#[path = "../tool/mod.rs"]
mod tool;

use scene::{Authority, Scene, VAULT_NAME};

/// What the client says when the other side's certificate is not good.
const UNKNOWN: &str = "certificate signed by unknown authority";

#[test]
fn both_sides_speak_tls_and_only_with_whom_they_know() {
    let scene = Scene::start();
    scene.program(Some(VAULT_NAME), true);
    scene.comes_to("allowed", |answer| answer.contains("greeting"));
    // The rules hold as without TLS.
    scene.program(Some(VAULT_NAME), false);
    scene.comes_to("denied", |answer| answer.contains("Code: 403"));
    scene.program(Some(VAULT_NAME), true);
    scene.comes_to("allowed again", |answer| answer.contains("greeting"));

    let plain = scene.asks("http", &scene.clients);
    assert!(!plain.contains("greeting"), "{plain}");
    let stranger = Authority::new("stranger");
    let answer = scene.asks("https", &stranger);
    assert!(answer.contains(UNKNOWN), "{answer}");

    // A certificate of the right authority for another name is not the vault's.
    scene.program(Some("other.vault.svc"), true);
    scene.comes_to("another name", |answer| answer.contains("SAN_matcher"));
    // And neither is one of another authority for the right name.
    scene.mount_authority(&stranger);
    scene.program(Some(VAULT_NAME), true);
    scene.comes_to("another authority", |answer| {
        answer.contains("CERTIFICATE_VERIFY_FAILED") && !answer.contains("SAN_matcher")
    });
    scene.mount_authority(&scene.vault);
    scene.comes_to("the right authority", |answer| answer.contains("greeting"));
    // Plain HTTP to a vault that speaks TLS gets nowhere.
    scene.program(None, true);
    scene.comes_to("plain", |answer| answer.contains("Code: 400"));
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let scene = Scene::start();
    scene.program(Some(VAULT_NAME), true);
    scene.comes_to("the first", |answer| answer.contains("greeting"));
    let next = Authority::new("next");
    let before = scene.asks("https", &next);
    assert!(before.contains(UNKNOWN), "{before}");
    scene.mount_certificate(&next);
    scene.comes_to_with("the second", &next, |answer| answer.contains("greeting"));
    let old = scene.asks("https", &scene.clients);
    assert!(old.contains(UNKNOWN), "{old}");
}

/// A proxy whose pod has no certificate refuses to speak TLS with what it lacks; what it did before, it goes on doing.
#[test]
fn without_its_files_a_proxy_refuses_the_change() {
    let scene = Scene::start();
    scene.program_plain();
    let plain = || scene.asks("http", &scene.clients);
    assert!(plain().contains("greeting"), "{}", plain());
    let refusals = scene.program_without_files();
    assert!(
        refusals
            .iter()
            .all(|words| words.contains("/sds-") && words.contains("' does not exist")),
        "{refusals:?}"
    );
    assert!(plain().contains("greeting"), "{}", plain());
}
