#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn vault() -> VaultId {
    VaultId {
        namespace: "team-a".into(),
        service: "openbao".into(),
    }
}

fn lifetime(authority: &Authority, issued: &Issued, identity: &Identity) -> Option<Lifetime> {
    authority.lifetime(&issued.certificate_pem, &issued.key_pem, identity, now())
}

/// The certificate of the first with the key of the second.
fn mixed(issued: &Issued, other: &Issued) -> Issued {
    Issued {
        key_pem: other.key_pem.clone(),
        ..issued.clone()
    }
}

fn der(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()
}

/// Client usage, server usage and names of a certificate.
fn described(issued: &Issued) -> (bool, bool, Vec<String>) {
    let der = der(issued);
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let names = names.value.general_names.iter().map(ToString::to_string);
    assert!(!parsed.is_ca());
    (usage.client_auth, usage.server_auth, names.collect())
}

#[test]
fn certificates_name_their_owner() {
    let authority = Authority::generate(now()).unwrap();
    let proxy = authority.proxy(&vault(), now()).unwrap();
    let uri = "URI(spiffe://vaultwall.dev/ns/team-a/vault/openbao)".to_owned();
    assert_eq!(described(&proxy), (true, false, vec![uri]));
    assert_eq!(identity_of(&der(&proxy)), Some(Identity::Proxy(vault())));
    assert_eq!(proxy.not_after, after(now(), DAY * 90));

    let names = ["vaultwall-0.vaultwall.svc".to_owned()];
    let replica = authority.replica(&names, now()).unwrap();
    let expected = [
        "URI(spiffe://vaultwall.dev/operator)",
        "DNSName(vaultwall)",
        "DNSName(vaultwall-0.vaultwall.svc)",
    ];
    assert_eq!(
        described(&replica),
        (true, true, expected.map(str::to_owned).into())
    );
    assert_eq!(identity_of(&der(&replica)), Some(Identity::Operator));
}

/// A self-signed certificate with these URIs.
fn with_uris(uris: &[&str]) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .collect();
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().clone()
}

#[test]
fn only_one_uri_of_the_exact_form_is_an_identity() {
    let good = "spiffe://vaultwall.dev/ns/a/vault/b";
    let longest = format!("spiffe://vaultwall.dev/ns/0-a/vault/{}", "b".repeat(63));
    let too_long = format!("{longest}b");
    for uri in [good, &longest] {
        let identity = identity_of(&with_uris(&[uri])).unwrap();
        assert_eq!(identity.to_string(), uri);
    }
    for uris in [
        &[][..],
        &[good, good],
        &[good, "spiffe://vaultwall.dev/operator"],
        &["spiffe://vaultwall.dev/operator/"],
        &["spiffe://vaultwall.dev/operator?"],
        &["SPIFFE://vaultwall.dev/operator"],
        &["spiffe://vaultwall.example/operator"],
        &["spiffe://vaultwall.dev/ns/a/vault/"],
        &["spiffe://vaultwall.dev/ns//vault/b"],
        &["spiffe://vaultwall.dev/ns/a/vault/b/"],
        &["spiffe://vaultwall.dev/ns/a/vault/b/vault/c"],
        &["spiffe://vaultwall.dev/ns/a/vault/b%2fc"],
        &["spiffe://vaultwall.dev/ns/A/vault/b"],
        &["spiffe://vaultwall.dev/ns/a/b/vault/c"],
        &["spiffe://vaultwall.dev/ns/a/sa/b"],
        &["https://vaultwall.dev/ns/a/vault/b"],
        &["spiffe://vaultwall.dev/ns/-a/vault/b"],
        &["spiffe://vaultwall.dev/ns/a/vault/b-"],
        &["spiffe://vaultwall.dev/ns/a.b/vault/b"],
        &[&too_long],
    ] {
        assert_eq!(identity_of(&with_uris(uris)), None, "{uris:?}");
    }
    let mut trailing = with_uris(&[good]).to_vec();
    trailing.push(0);
    assert_eq!(identity_of(&trailing), None, "bytes after the certificate");
    assert_eq!(identity_of(b"no certificate"), None);
}

#[test]
fn an_authority_is_read_back_from_its_secret() {
    let authority = Authority::generate(now()).unwrap();
    let again = Authority::from_secret_data(&authority.secret_data()).unwrap();
    assert_eq!(again.secret_data(), authority.secret_data());
    assert_eq!(again.not_after(), authority.not_after());
    let issued = again.proxy(&vault(), now()).unwrap();
    let identity = Identity::Proxy(vault());
    let lifetime = lifetime(&authority, &issued, &identity).unwrap();
    assert_eq!(Some(lifetime), self::lifetime(&again, &issued, &identity));
    assert_eq!(lifetime.not_after, issued.not_after);
}

/// An authority with the certificates of two, and the key of one.
fn both(first: &Authority, second: &Authority, key: &Authority) -> Authority {
    let mut data = key.secret_data();
    let text = format!("{}{}", first.ca_pem(), second.ca_pem());
    data.insert(CA_CERTIFICATE.into(), ByteString(text.into_bytes()));
    Authority::from_secret_data(&data).unwrap()
}

#[test]
fn the_steps_of_a_rotation_differ() {
    let old = Authority::generate(now()).unwrap();
    let new = Authority::generate(after(now(), DAY)).unwrap();
    let steps = || {
        let again =
            |authority: &Authority| Authority::from_secret_data(&authority.secret_data()).unwrap();
        [
            again(&old),
            both(&old, &new, &old),
            both(&old, &new, &new),
            again(&new),
        ]
    };
    for (place, step) in steps().iter().enumerate() {
        for (other_place, other) in steps().iter().enumerate() {
            assert_eq!(step.is_same_as(other), place == other_place);
        }
    }
}

#[test]
fn every_certificate_is_checked_before_one_is_trusted() {
    let authority = Authority::generate(now()).unwrap();
    // Valid PEM that contains no certificate.
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in [
        format!("{}{broken}", authority.ca_pem()),
        format!("{broken}{}", authority.ca_pem()),
    ] {
        let mut data = authority.secret_data();
        data.insert(CA_CERTIFICATE.into(), ByteString(text.into_bytes()));
        let error = Authority::from_secret_data(&data).unwrap_err();
        assert!(
            matches!(&error, CertificateError::Unreadable { key, .. } if *key == CA_CERTIFICATE),
            "{error}"
        );
    }
}

#[test]
fn among_several_certificates_the_one_of_the_key_signs() {
    let old = Authority::generate(now()).unwrap();
    let new = Authority::generate(after(now(), DAY)).unwrap();
    let identity = Identity::Proxy(vault());
    for signing in [&old, &new] {
        for bundle in [both(&old, &new, signing), both(&new, &old, signing)] {
            assert!(
                bundle.ca_pem().contains(old.ca_pem()) && bundle.ca_pem().contains(new.ca_pem())
            );
            let issued = bundle.proxy(&vault(), now()).unwrap();
            let renew = |authority: &Authority| lifetime(authority, &issued, &identity);
            assert!(renew(signing).is_some() && renew(&bundle).is_some());
            let other = if std::ptr::eq(signing, &raw const old) {
                &new
            } else {
                &old
            };
            assert_eq!(renew(other), None, "issued by the other one");
        }
    }
}

#[test]
fn a_certificate_is_renewed_after_two_thirds_of_its_lifetime() {
    let authority = Authority::generate(now()).unwrap();
    let identity = Identity::Proxy(vault());
    let issued = authority.proxy(&vault(), now()).unwrap();
    let at = lifetime(&authority, &issued, &identity).unwrap().renew_at;
    let days = at.duration_since(now()).as_secs_f64() / DAY.as_secs_f64();
    assert!((59.9..=60.0).contains(&days), "{days}");

    let operator = Identity::Operator;
    let stranger = Authority::generate(now()).unwrap();
    let other = authority.proxy(&vault(), now()).unwrap();
    for (why, renewed) in [
        ("another identity", lifetime(&authority, &issued, &operator)),
        ("another authority", lifetime(&stranger, &issued, &identity)),
        (
            "another key",
            lifetime(&authority, &mixed(&issued, &other), &identity),
        ),
        (
            "no certificate",
            authority.lifetime("", &issued.key_pem, &identity, now()),
        ),
        (
            "no key",
            authority.lifetime(&issued.certificate_pem, "", &identity, now()),
        ),
    ] {
        assert_eq!(renewed, None, "{why}");
    }
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_unusable() {
    let authority = Authority::generate(now()).unwrap();
    let identity = Identity::Proxy(vault());
    let begin = after(now(), DAY);
    let issued = authority.proxy(&vault(), begin).unwrap();
    let at = |moment: Timestamp| {
        authority.lifetime(&issued.certificate_pem, &issued.key_pem, &identity, moment)
    };
    assert_eq!(at(now()), None);
    let skew = jiff::SignedDuration::from_secs(CLOCK_SKEW_SECONDS);
    assert_eq!(at(begin - skew - jiff::SignedDuration::from_secs(1)), None);
    assert!(at(begin - skew).is_some());
}

#[test]
fn no_certificate_outlives_its_authority() {
    let authority = Authority::generate(now()).unwrap();
    let late = after(now(), AUTHORITY_LIFETIME.saturating_sub(DAY));
    let issued = authority.proxy(&vault(), late).unwrap();
    assert_eq!(issued.not_after, authority.not_after());
}

#[test]
fn a_secret_with_invalid_values_is_refused_with_a_remedy() {
    let authority = Authority::generate(now()).unwrap();
    let changed = |key: &str, text: Option<String>| {
        let mut data = authority.secret_data();
        match text {
            Some(text) => data.insert(key.to_owned(), ByteString(text.into_bytes())),
            None => data.remove(key),
        };
        Authority::from_secret_data(&data).unwrap_err().to_string()
    };
    let stranger = Authority::generate(now()).unwrap();
    let leaf = authority.proxy(&vault(), now()).unwrap();
    for (words, error) in [
        ("no `ca.crt`", changed(CA_CERTIFICATE, None)),
        ("no `ca.key`", changed(CA_KEY, None)),
        ("`ca.key`", changed(CA_KEY, Some("nonsense".into()))),
        (
            "belongs to",
            changed(CA_CERTIFICATE, Some("nonsense".into())),
        ),
        (
            "belongs to",
            changed(CA_CERTIFICATE, Some(stranger.ca_pem().into())),
        ),
        (
            "belongs to",
            changed(CA_CERTIFICATE, Some(leaf.certificate_pem)),
        ),
    ] {
        assert!(
            error.contains(words) && error.contains("delete the Secret"),
            "{error}"
        );
    }
}

#[test]
fn debug_output_never_contains_keys() {
    let authority = Authority::generate(now()).unwrap();
    let issued = authority.proxy(&vault(), now()).unwrap();
    let printed = format!("{authority:?} {issued:?}");
    assert!(
        !printed.contains("KEY") && !printed.contains("secret"),
        "{printed}"
    );
}
