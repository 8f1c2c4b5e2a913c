//! TLS on both sides of a real Envoy: `bao` as the client, a real `OpenBao` with a certificate of its own as the vault,
//! and certificates that are renewed as a kubelet renews a mounted Secret.

mod setup;

use setup::{Authority, Setup, VAULT_NAME};

/// Error of the client when the certificate of the server is not valid.
const UNKNOWN: &str = "certificate signed by unknown authority";

#[test]
fn both_sides_use_tls_and_only_with_peers_that_they_trust() {
    let setup = Setup::start();
    setup.program(Some(VAULT_NAME), true);
    setup.wait_for_answer("allowed", |answer| answer.contains("greeting"));
    // The rules hold as without TLS.
    setup.program(Some(VAULT_NAME), false);
    setup.wait_for_answer("denied", |answer| answer.contains("Code: 403"));
    setup.program(Some(VAULT_NAME), true);
    setup.wait_for_answer("allowed again", |answer| answer.contains("greeting"));

    let plain = setup.request("http", &setup.clients);
    assert!(!plain.contains("greeting"), "{plain}");
    let stranger = Authority::new("stranger");
    let answer = setup.request("https", &stranger);
    assert!(answer.contains(UNKNOWN), "{answer}");

    // A certificate of the right authority for another name is not the vault's.
    setup.program(Some("other.vault.svc"), true);
    setup.wait_for_answer("another name", |answer| answer.contains("SAN_matcher"));
    // And neither is one of another authority for the right name.
    setup.mount_authority(&stranger);
    setup.program(Some(VAULT_NAME), true);
    setup.wait_for_answer("another authority", |answer| {
        answer.contains("CERTIFICATE_VERIFY_FAILED") && !answer.contains("SAN_matcher")
    });
    setup.mount_authority(&setup.vault);
    setup.wait_for_answer("the right authority", |answer| answer.contains("greeting"));
    // Plain HTTP to a vault with TLS fails.
    setup.program(None, true);
    setup.wait_for_answer("plain", |answer| answer.contains("Code: 400"));
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let setup = Setup::start();
    setup.program(Some(VAULT_NAME), true);
    setup.wait_for_answer("the first", |answer| answer.contains("greeting"));
    let next = Authority::new("next");
    let before = setup.request("https", &next);
    assert!(before.contains(UNKNOWN), "{before}");
    setup.mount_certificate(&next);
    setup.wait_for_answer_with("the second", &next, |answer| answer.contains("greeting"));
    let old = setup.request("https", &setup.clients);
    assert!(old.contains(UNKNOWN), "{old}");
}

/// A proxy whose pod has no certificate refuses a configuration with TLS, and keeps the earlier one.
#[test]
fn without_its_files_a_proxy_refuses_the_change() {
    let setup = Setup::start();
    setup.program_plain();
    let plain = || setup.request("http", &setup.clients);
    assert!(plain().contains("greeting"), "{}", plain());
    let refusals = setup.program_without_files();
    assert!(
        refusals
            .iter()
            .all(|words| words.contains("/sds-") && words.contains("' does not exist")),
        "{refusals:?}"
    );
    assert!(plain().contains("greeting"), "{}", plain());
}
