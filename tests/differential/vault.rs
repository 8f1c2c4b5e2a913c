//! The proof on the real thing: `OpenBao` behind Envoy, a secret in every kind of engine, and everything that a hostile
//! client could send. With the root token on the management listener, and from outside on the data listener, the
//! secret never comes back.

use std::net::{Ipv4Addr, SocketAddrV4};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use vaultwall::policy::{DefaultAction, Firewall, Listener};

use crate::differential::envoy::Envoy;
use crate::differential::hostile;
use crate::differential::requests;
use crate::differential::run::announce;
use crate::differential::shapes::{NAMESPACES, TARGETS};
use crate::differential::wire::{Answer, Sent, exchange};
use testkit::client::TOKEN;
use testkit::{OpenBao, own_address};

/// Text of the secret, which must not be in a response.
const CANARY: &str = "canary-5f1e9b7c";
/// Number of random requests, in addition to the listed shapes.
const RANDOM: usize = 1_500;

/// A development server with more engines and namespaces.
struct Vault {
    server: OpenBao,
    _home: TempDir,
}

impl Vault {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let address = SocketAddrV4::new(own_address(), 8200);
        Self {
            server: OpenBao::start(address, home.path()),
            _home: home,
        }
    }

    /// Asks the vault itself, past the firewall.
    async fn ask(&self, method: &str, path: &str, namespace: Option<&str>, body: &Value) -> Answer {
        let body = body.to_string();
        let namespace = namespace
            .map(|name| format!("X-Vault-Namespace: {name}\r\n"))
            .unwrap_or_default();
        let request = format!(
            "{method} /v1/{path} HTTP/1.1\r\nHost: vault\r\nX-Vault-Token: {TOKEN}\r\n{namespace}Content-Length: \
                {}\r\n\r\n{body}",
            body.len()
        );
        exchange(
            Ipv4Addr::LOCALHOST,
            self.server.address(),
            request.as_bytes(),
        )
        .await
    }

    /// The same, and it has to work.
    async fn must(&self, method: &str, path: &str, namespace: Option<&str>, body: Value) -> String {
        let answer = self.ask(method, path, namespace, &body).await;
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(
            matches!(answer.status, Some(200 | 204)),
            "{method} {path}: {text}"
        );
        text
    }

    /// Namespaces, engines and the secret in each.
    async fn fill(&self) {
        let secret = json!({"value": CANARY, "data": {"value": CANARY}});
        self.must("POST", "sys/namespaces/ns1", None, json!({}))
            .await;
        self.must("POST", "sys/namespaces/sub", Some("ns1"), json!({}))
            .await;
        self.must("POST", "sys/namespaces/other", None, json!({}))
            .await;
        for namespace in [None, Some("ns1"), Some("ns1/sub"), Some("other")] {
            if namespace.is_some() {
                self.must(
                    "POST",
                    "sys/mounts/secret",
                    namespace,
                    json!({"type": "kv", "options": {"version": "2"}}),
                )
                .await;
            }
            self.must(
                "POST",
                "sys/mounts/kv",
                namespace,
                json!({"type": "kv", "options": {"version": "1"}}),
            )
            .await;
            for path in ["secret/data/a", "kv/a", "kv/a/b"] {
                self.must("POST", path, namespace, secret.clone()).await;
            }
        }
        self.must("POST", "cubbyhole/a", None, secret.clone()).await;
        // An engine under the name of the vault's own paths, and one that is not listed.
        self.must(
            "POST",
            "sys/mounts/sysx",
            None,
            json!({"type": "kv", "options": {"version": "1"}}),
        )
        .await;
        self.must("POST", "sysx/mounts", None, secret).await;
    }
}

/// Every listed shape with every method that only reads, then random ones.
fn hostile_requests(firewall: &Firewall) -> Vec<Sent> {
    let mut requests = Vec::new();
    for target in TARGETS {
        for method in ["GET", "LIST", "SCAN", "HEAD", "HELP", "POST"] {
            requests.push((method, (*target).to_owned(), &[][..]));
        }
    }
    for namespaces in NAMESPACES {
        for target in [
            "/v1/sys/mounts",
            "/v1/secret/data/a",
            "/v1/ns1/secret/data/a",
            "/v1/kv/a",
            "/v1/sys/internal/ui/mounts/kv/a",
            "/v1/sys/health/../../secret/data/a",
            "/v1/sysx/mounts",
            "/v1/sub/kv/a",
        ] {
            requests.push(("GET", target.to_owned(), *namespaces));
        }
    }
    // Each place of a secret under disguises of its path.
    for (before, after) in [
        ("", "secret/data/a"),
        ("", "kv/a"),
        ("ns1/", "kv/a"),
        ("", "sysx/mounts"),
        ("", "cubbyhole/a"),
    ] {
        for disguise in [
            "",
            "sys/../",
            "sys/health/../../",
            "sys/mounts/%2e%2e/%2e%2e/",
            "sys/mounts/..;/..;/",
            "sys\\..\\",
            "./",
            "%2e/",
            "/",
            "sys/seal-status/..%2f..%2f",
            "sys%2f..%2f",
            "root/",
            "auth/token/lookup-self/../../../",
            "sys/mounts/..%5c..%5c",
            "sys/leader;/../../",
            "%73ys/..%2f",
        ] {
            for end in [
                "",
                "?list=true",
                "?help=1",
                "/",
                "%00",
                ";",
                "%20",
                "?version=1",
                "#",
            ] {
                requests.push((
                    "GET",
                    format!("/v1/{before}{disguise}{after}{end}"),
                    &[][..],
                ));
                requests.push((
                    "GET",
                    format!("/v1/{disguise}{before}{after}{end}"),
                    &[][..],
                ));
            }
        }
    }
    let listed = requests.into_iter().map(|(method, target, namespaces)| {
        hostile::sent(Listener::Management, method, target.as_bytes(), namespaces)
    });
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let random = (0..RANDOM).map(|_| requests::request(&mut rng, firewall));
    let mut requests: Vec<Sent> = listed.chain(random).collect();
    for request in &mut requests {
        request
            .headers
            .retain(|(name, _)| !name.eq_ignore_ascii_case("x-vault-token"));
        request.headers.push(("X-Vault-Token".into(), TOKEN.into()));
        request.from = Ipv4Addr::LOCALHOST;
    }
    requests
}

/// Requests that management is made for and that would end the test: they seal, unmount, revoke.
fn changes_the_vault(sent: &Sent) -> bool {
    let reads: [&[u8]; 6] = [b"GET", b"LIST", b"SCAN", b"HEAD", b"HELP", b"OPTIONS"];
    let table = hostile::open_firewall().table();
    let decision = sent.decided(&hostile::open_firewall(), &table);
    decision.plane != Some(vaultwall::vault_api::Plane::Data)
        && !reads.contains(&sent.method.as_slice())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_stays_where_it_is() {
    let bao = Vault::start();
    bao.fill().await;
    let mut firewall = hostile::open_firewall();
    // An allowed client sees the secret, so there is something to protect.
    let envoy = Envoy::start(&firewall, bao.server.address());
    let places = [
        "secret/data/a",
        "kv/a",
        "ns1/secret/data/a",
        "ns1/kv/a",
        "ns1/sub/kv/a",
        "other/kv/a",
        "cubbyhole/a",
        "sysx/mounts",
    ];
    check_places(&envoy, &places).await;

    // From outside, on both listeners.
    firewall.default_action = DefaultAction::Deny;
    let outside = Envoy::start(&firewall, bao.server.address());
    let mut sent_to = [0_usize; 2];
    let mut answered = 0_usize;
    for request in hostile_requests(&firewall)
        .iter()
        .filter(|request| !changes_the_vault(request))
    {
        for (at, listener) in [Listener::Data, Listener::Management]
            .into_iter()
            .enumerate()
        {
            let answer = exchange(
                request.from,
                outside.address(listener),
                &request.bytes("hostile"),
            )
            .await;
            let text = String::from_utf8_lossy(&answer.bytes);
            assert!(
                !text.contains(CANARY),
                "{} listener: {request}\n{text}",
                listener.name()
            );
            sent_to[at] += 1;
            answered += usize::from(answer.status == Some(200) && !request.is_grpc());
        }
    }
    check_places(&envoy, &places).await;
    announce(&format!(
        "canary: {} requests on the data listener, {} on the management listener, {answered} answered with 200, the \
            secret in none",
        sent_to[0], sent_to[1]
    ));
    assert!(
        answered > 30,
        "only {answered} requests reached OpenBao: this proves nothing"
    );
}

/// An allowed client reads the secret everywhere.
async fn check_places(envoy: &Envoy, places: &[&str]) {
    for place in places {
        let mut read = hostile::sent(
            Listener::Data,
            "GET",
            format!("/v1/{place}").as_bytes(),
            &[],
        );
        read.headers.push(("X-Vault-Token".into(), TOKEN.into()));
        let answer = exchange(
            read.from,
            envoy.address(Listener::Data),
            &read.bytes("inside"),
        )
        .await;
        let text = String::from_utf8_lossy(&answer.bytes);
        assert!(text.contains(CANARY), "{place}: {text}");
    }
}
