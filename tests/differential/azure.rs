//! Firewalls for the API of Azure Key Vault: generated requests, and shapes that a hostile client could send.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vaultwall::policy::{
    DefaultAction, Firewall, Listener, ManagementAccess, TokenCreation, VaultApi,
};

use crate::differential::firewalls::{self, vault};
use crate::differential::hostile::sent;
use crate::differential::run::Case;
use crate::differential::wire::Sent;
use crate::differential::{REQUESTS, requests};

/// Targets with more than one plausible reading, or near one with a meaning.
const TARGETS: &[&str] = &[
    "/",
    "//",
    "/secrets",
    "/secrets/",
    "//secrets//",
    "/SECRETS",
    "/sEcReTs/A/VERSIONS",
    "/secretsx",
    "/secrets?api-version=7.6",
    "/secrets?%61pi-version=7.6",
    "/secrets?list=maybe&help=1&scan=true",
    "/secrets/a",
    "/secrets/a/",
    "/secrets/a//",
    "/secrets/a//versions",
    "/secrets//versions",
    "/secrets/a/versions",
    "/secrets/a/versions/b",
    "/secrets/restore",
    "/secrets/restore/backup",
    "/secrets/a/backup",
    "/secrets/a%2Fversions",
    "/secrets/a%5Cversions",
    "/secrets/a;x/versions",
    "/secrets/a/..;/b",
    "/secrets/%2e%2e/keys/k",
    "/secrets/a/%76ersions",
    "/secrets/a/%56ersions",
    "/secrets/a/version%C5%BF",
    "/%C5%BFecrets/a",
    "/%E2%84%AAeys/k",
    "/\u{212a}eys/k",
    "/deletedsecrets/a/recover",
    "/deletedsecrets/a",
    "/DELETEDKEYS",
    "/keys/k/create",
    "/keys/k//sign",
    "/keys/k/v/sign",
    "/keys/k/v/SIGN/",
    "/keys/k/v/unwrapKey",
    "/keys/k/v/sign/x",
    "/keys/sign/sign",
    "/keys/k/rotationpolicy",
    "/keys/k/rotate",
    "/certificates/contacts",
    "/certificates/Contacts/",
    "/certificates/issuers",
    "/certificates/issuers/i",
    "/certificates/c/pending/merge",
    "/certificates/c/policy",
    "/healthstatus",
    "/healthstatus/",
    "/HealthStatus",
    "/HEALTHSTATUS?x=y",
    "/healthstatus/../secrets/a",
    "/healthstatus/%2e%2e/secrets/a",
    "/healthstatus/..%2fsecrets/a",
    "/healthstatus;/secrets/a",
    "/healthstatus%3B",
    "/healthstatus%20",
    "/healthstatus%00",
    "/health%73tatus",
    "/v1/sys/health",
    "/v1/sys/raw/x",
    "/v1/secrets/a",
    "/rng",
    "http://other/secrets/a",
];
const METHODS: &[&str] = &[
    "GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "LIST", "HELP", "get",
];

/// A generated firewall and requests to it.
pub fn generated(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let firewall = for_azure(firewalls::firewall(&mut rng));
    let requests = (0..REQUESTS).map(|_| {
        let mut request = requests::request(&mut rng, &firewall);
        change_case(&mut rng, &mut request);
        request
    });
    Case {
        name: format!("seed {seed}, Azure Key Vault"),
        requests: requests.collect(),
        firewall,
    }
}

/// Writes some segments in capital letters.
fn change_case(rng: &mut ChaCha8Rng, request: &mut Sent) {
    if rng.random_bool(0.3) {
        let ends = [4, 8, 12, usize::MAX];
        let end = (*ends.choose(rng).unwrap()).min(request.target.len());
        request.target[..end].make_ascii_uppercase();
    }
}

fn for_azure(firewall: Firewall) -> Firewall {
    Firewall {
        api: VaultApi::AzureKeyVault,
        engines: Vec::new(),
        auth_mounts: Vec::new(),
        namespaces: Vec::new(),
        token_creation: TokenCreation::default(),
        ..firewall
    }
}

/// Cases in which only the parsing of the request matters: all networks are allowed.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, requests| Case {
        name: name.into(),
        firewall: for_azure(Firewall {
            policies: vec!["open".into()],
            default_action: DefaultAction::Allow,
            management: ManagementAccess::Unrestricted,
            ..Firewall::deny_all(vault(), 443)
        }),
        requests,
    };
    vec![
        case("shapes, Azure Key Vault", shapes()),
        case("every byte, Azure Key Vault", every_byte()),
    ]
}

fn shapes() -> Vec<Sent> {
    let mut requests = Vec::new();
    for target in TARGETS {
        for method in METHODS {
            for listener in [Listener::Data, Listener::Management] {
                requests.push(sent(listener, method, target.as_bytes(), &[]));
            }
        }
        for namespace in ["team-a", "ns1/..", "/"] {
            requests.push(sent(Listener::Data, "GET", target.as_bytes(), &[namespace]));
        }
    }
    for method in ["DELETE", "GET", ""] {
        let mut overridden = sent(Listener::Data, "POST", b"/secrets/a", &[]);
        let value = format!("{method} spoofed").into_bytes();
        overridden.headers.push(("X-HTTP-REQUEST".into(), value));
        requests.push(overridden);
    }
    requests
}

/// Every byte as it is and encoded, in a path, its fixed parts, and a query's key and value.
fn every_byte() -> Vec<Sent> {
    let mut requests = Vec::new();
    for byte in (0..=u8::MAX).filter(|byte| *byte != b'\n') {
        for written in [vec![byte], format!("%{byte:02x}").into_bytes()] {
            for (start, end) in [
                ("/secrets/a", "b"),
                ("/secrets/a/version", ""),
                ("/sec", "ets/a"),
                ("/secrets?api", "version=7.6"),
                ("/secrets?api-version=7", "6"),
            ] {
                let target = [start.as_bytes(), &written, end.as_bytes()].concat();
                requests.push(sent(Listener::Data, "GET", &target, &[]));
            }
        }
    }
    requests
}
