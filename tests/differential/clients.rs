//! Clients as people have them, in front of a vault as it is: HTTP/1.0, offers of other protocols, proxies that write
//! ports, connections that the vault closes, names with special characters, child tokens.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vaultwall::policy::{ClientAddressSource, DefaultAction, Firewall, Listener, TokenCreation};

use crate::differential::envoy::Envoy;
use crate::differential::hop::Hop;
use crate::differential::hostile::{open_firewall, sent};
use crate::differential::wire::{Answer, Sent, exchange};
use testkit::client::TOKEN;
use testkit::{OpenBao, own_address};

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn get(target: &str) -> Sent {
    sent(Listener::Data, "GET", target.as_bytes(), &[])
}

async fn send(envoy: &Envoy, request: &Sent, mark: &str) -> Answer {
    exchange(
        request.from,
        envoy.address(request.listener),
        &request.bytes(mark),
    )
    .await
}

/// Offers and versions change neither the decision nor the request that arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_versions_and_offers_of_protocols_are_served() {
    let hop = Hop::start().await;
    let envoy = Envoy::start(&open_firewall(), hop.address);
    let heads = [
        ("HTTP/1.0\r\n", "old"),
        (
            "HTTP/1.0\r\nHost: other\r\nConnection: keep-alive\r\n",
            "kept",
        ),
        (
            "HTTP/1.1\r\nHost: v\r\nConnection: Upgrade\r\nUpgrade: TLS/1.3\r\n",
            "tls",
        ),
        (
            "HTTP/1.1\r\nHost: v\r\nConnection: close, Upgrade\r\nUpgrade: IRC/6.9, RTA/x11\r\n",
            "several",
        ),
        (
            "HTTP/1.1\r\nHost: v\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n",
            "socket",
        ),
    ];
    for (head, mark) in heads {
        for listener in [Listener::Data, Listener::Management] {
            let bytes = format!("GET /v1/sys/mounts {head}user-agent: {mark}\r\n\r\n");
            let answer = exchange(LOCAL, envoy.address(listener), bytes.as_bytes()).await;
            assert_eq!(answer.status, Some(200), "{mark}");
        }
    }
    let arrived = hop.arrived();
    for (_, mark) in heads {
        assert_eq!(arrived[mark].len(), 2, "{mark}");
        for request in &arrived[mark] {
            assert_eq!(request.line, b"GET /v1/sys/mounts HTTP/1.1");
            assert!(request.values("upgrade").is_empty());
            assert_eq!(request.values("host").len(), 1);
        }
    }
    let denied = "GET /v1/secret/data/a HTTP/1.0\r\n\r\n";
    let answer = exchange(
        LOCAL,
        envoy.address(Listener::Management),
        denied.as_bytes(),
    )
    .await;
    assert_eq!(answer.status, Some(403));
}

/// The vault gets the peer as the last entry, also a peer on the same machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vault_gets_the_peer_as_last_entry() {
    let hop = Hop::start().await;
    let proxies = ClientAddressSource::XForwardedFor {
        trusted_proxies: ["127.0.0.1/32".parse().unwrap()].into_iter().collect(),
    };
    for source in [ClientAddressSource::Direct, proxies] {
        let firewall = Firewall {
            client_address: source,
            ..open_firewall()
        };
        let envoy = Envoy::start(&firewall, hop.address);
        for from in [
            LOCAL,
            Ipv4Addr::new(127, 0, 0, 2),
            Ipv4Addr::new(127, 9, 8, 7),
        ] {
            for (header, start) in [
                (None, ""),
                (
                    Some("203.0.113.9:1, 198.51.100.2"),
                    "203.0.113.9:1, 198.51.100.2,",
                ),
            ] {
                let mut request = get("/v1/secret/data/a");
                request.from = from;
                request
                    .headers
                    .extend(header.map(|text| ("X-Forwarded-For".into(), text.into())));
                let mark = format!("{from} {start} {:?}", firewall.client_address);
                assert_eq!(send(&envoy, &request, &mark).await.status, Some(200));
                let arrived = hop.arrived();
                let values = arrived[&mark][0].values("x-forwarded-for");
                assert_eq!(values, [format!("{start}{from}").as_bytes()], "{mark}");
            }
        }
    }
}

/// Whether an answer's headers have the warning about the client's address.
fn warned(head: &str) -> bool {
    head.to_ascii_lowercase()
        .contains("\r\nx-vaultwall-client-address-warning: ")
}

/// The denial, the log and every answer say which entry could not be read; a port is no reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_cannot_be_read_is_named() {
    let hop = Hop::start().await;
    let mut firewall = Firewall {
        default_action: DefaultAction::Deny,
        client_address: ClientAddressSource::XForwardedFor {
            trusted_proxies: ["127.0.20.0/30".parse().unwrap()].into_iter().collect(),
        },
        ..open_firewall()
    };
    firewall.ip_rules.claim(
        "198.51.100.0/24".parse().unwrap(),
        &Arc::from("p/ipRules/office"),
    );
    let envoy = Envoy::start(&firewall, hop.address);
    // header, status, and a part of the denial, and of the log's warning or of the place of the address
    let many = ["198.51.100.9"; 21].join(", ");
    let rows = [
        ("198.51.100.9:50123", 200, ""),
        ("::FFFF:198.51.100.9", 200, ""),
        ("[::ffff:198.51.100.9]:443, 127.0.20.2:80", 200, ""),
        (
            "192.0.2.5:50123, 127.0.20.1",
            403,
            "(entry 1 of X-Forwarded-For)",
        ),
        (
            "198.51.100.9, [2001:db8::5]:443",
            403,
            "(entry 2 of X-Forwarded-For)",
        ),
        (
            "198.51.100.9, unknown",
            403,
            "entry 2 of X-Forwarded-For is no address: 'unknown'",
        ),
        (
            "_hidden, 127.0.20.1",
            403,
            "entry 1 of X-Forwarded-For is no address: '_hidden'",
        ),
        (
            "198.51.100.9:x",
            403,
            "entry 1 of X-Forwarded-For is no address: '198.51.100.9:x'",
        ),
        (
            "198.51.100.9,",
            403,
            "entry 2 of X-Forwarded-For is no address: ''",
        ),
        ("a\"b\u{e9}", 403, "is no address: 'a\"b??'"),
        (&many, 403, "X-Forwarded-For has more than 20 entries"),
    ];
    for (index, (header, status, _)) in rows.iter().enumerate() {
        let mut request = get("/v1/secret/data/a");
        request.from = Ipv4Addr::new(127, 0, 20, 1);
        request
            .headers
            .push(("X-Forwarded-For".into(), (*header).into()));
        let answer = send(&envoy, &request, &format!("row-{index}")).await;
        assert_eq!(answer.status, Some(*status), "{header}");
        let text = String::from_utf8_lossy(&answer.bytes).replace("\\\"", "\"");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(rows[index].2), "{header}: {text}");
        let part = rows[index].2.trim_matches(['(', ')']);
        let is_warned = rows[index].2 == part && !part.is_empty();
        assert_eq!(warned(head), is_warned, "{header}: {head}");
        assert!(head.contains(part), "{header}: {head}");
    }
    // A probe is allowed without a client, and has the warning all the same.
    let mut probe = get("/v1/sys/health");
    probe.from = Ipv4Addr::new(127, 0, 20, 1);
    probe
        .headers
        .push(("X-Forwarded-For".into(), "unknown".into()));
    let answer = send(&envoy, &probe, "probe").await;
    assert_eq!(answer.status, Some(200));
    let head = String::from_utf8_lossy(&answer.bytes).into_owned();
    assert!(warned(&head), "{head}");
    let log = envoy.log().await;
    for (index, (header, _, part)) in rows.iter().enumerate() {
        let record = &log[&format!("row-{index}")];
        let is_place = part.is_empty() || part.starts_with('(');
        let (warning, place) = (
            &record["clientAddressWarning"],
            &record["clientAddressFrom"],
        );
        assert_eq!(
            (warning.is_null(), place.is_null()),
            (is_place, !is_place),
            "{header}: {record}"
        );
        let found = warning.as_str().or(place.as_str()).unwrap();
        assert!(
            found.contains(part.trim_matches(['(', ')'])),
            "{header}: {found:?}"
        );
    }
}

/// A vault that closes each connection when its second request comes, as if it had been idle too long.
async fn forgetful() -> (SocketAddrV4, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!()
    };
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_once(stream, seen.clone()));
        }
    });
    (address, requests)
}

async fn answer_once(mut stream: TcpStream, seen: Arc<AtomicUsize>) {
    let mut buffer = [0; 4096];
    let _ = stream.read(&mut buffer).await;
    seen.fetch_add(1, Ordering::SeqCst);
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    let _ = stream.read(&mut buffer).await;
    seen.fetch_add(1, Ordering::SeqCst);
}

/// A read that meets such a connection is sent again; a write never is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_sent_again_and_writes_are_not() {
    for (method, second, requests) in [
        ("GET", 200, 3),
        ("LIST", 200, 3),
        ("HEAD", 200, 3),
        ("POST", 503, 2),
        ("PUT", 503, 2),
        ("PATCH", 503, 2),
        ("DELETE", 503, 2),
    ] {
        let (address, seen) = forgetful().await;
        let envoy = Envoy::start(&open_firewall(), address);
        let request = |path: &str| sent(Listener::Data, method, path.as_bytes(), &[]);
        assert_eq!(
            send(&envoy, &request("/v1/secret/data/a"), "a")
                .await
                .status,
            Some(200)
        );
        let answer = send(&envoy, &request("/v1/secret/data/b"), "b").await;
        assert_eq!(answer.status, Some(second), "{method}");
        assert_eq!(seen.load(Ordering::SeqCst), requests, "{method}");
    }
}

/// A real vault with the firewall in front.
struct Vault {
    bao: OpenBao,
    envoy: Envoy,
    _home: TempDir,
}

/// The vault itself, and the endpoints of the firewall.
#[derive(Clone, Copy, Debug)]
enum At {
    Vault,
    Data,
    Management,
}

impl Vault {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let bao = OpenBao::start(SocketAddrV4::new(own_address(), 8200), home.path());
        let firewall = Firewall {
            token_creation: TokenCreation::ChildTokens,
            ..open_firewall()
        };
        Self {
            envoy: Envoy::start(&firewall, bao.address()),
            bao,
            _home: home,
        }
    }

    fn address(&self, at: At) -> SocketAddrV4 {
        match at {
            At::Vault => self.bao.address(),
            At::Data => self.envoy.address(Listener::Data),
            At::Management => self.envoy.address(Listener::Management),
        }
    }

    /// Sends a request with the root token. Returns status and body.
    async fn ask(&self, at: At, line: &str, namespace: Option<&str>, body: &str) -> (u16, String) {
        let (method, path) = line.split_once(' ').unwrap();
        let namespace = namespace.map(|name| format!("X-Vault-Namespace: {name}\r\n"));
        let request = format!(
            "{method} /v1/{path} HTTP/1.1\r\nHost: v\r\nX-Vault-Token: {TOKEN}\r\n{}connection: \
             close\r\nContent-Length: {}\r\n\r\n{body}",
            namespace.unwrap_or_default(),
            body.len()
        );
        let answer = exchange(LOCAL, self.address(at), request.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        (answer.status.unwrap_or_default(), text)
    }

    async fn must(&self, at: At, line: &str, namespace: Option<&str>, body: &str) -> String {
        let (status, text) = self.ask(at, line, namespace, body).await;
        assert!(matches!(status, 200 | 204), "{at:?} {line}: {text}");
        text
    }
}

/// Encoded names that the firewall lets pass are written through it, and listed by the vault itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vault_reads_encoded_names_as_the_firewall_does() {
    let vault = Vault::start();
    let names = [
        ("50%25off", "50%off"),
        ("x%252Fy", "x%2Fy"),
        ("%25%32%66", "%2f"),
        ("n%23o", "n#o"),
        ("p%3Bq", "p;q"),
        ("r%3Fs", "r?s"),
        ("..%3Bt", "..;t"),
        ("%252e%252e", "%2e%2e"),
    ];
    for (written, _) in names {
        let line = format!("POST secret/data/names/{written}");
        vault
            .must(At::Data, &line, None, r#"{"data":{"a":"b"}}"#)
            .await;
    }
    let text = vault
        .must(At::Vault, "LIST secret/metadata/names", None, "")
        .await;
    let (start, end) = (text.find('{').unwrap(), text.rfind('}').unwrap());
    let listed: Value = serde_json::from_str(&text[start..=end]).unwrap();
    let keys = listed["data"]["keys"].as_array().unwrap();
    let mut listed: Vec<&str> = keys.iter().map(|key| key.as_str().unwrap()).collect();
    let mut expected: Vec<&str> = names.iter().map(|(_, name)| *name).collect();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

/// An engine in each namespace answers with its own secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vault_reads_namespaces_as_the_firewall_does() {
    let vault = Vault::start();
    vault
        .must(At::Vault, "POST sys/namespaces/ns1", None, "{}")
        .await;
    for (namespace, value) in [(None, "of-root"), (Some("ns1"), "of-ns1")] {
        let engine = r#"{"type":"kv"}"#;
        vault
            .must(At::Vault, "POST sys/mounts/kv", namespace, engine)
            .await;
        let secret = format!(r#"{{"v":"{value}"}}"#);
        vault.must(At::Vault, "POST kv/a", namespace, &secret).await;
    }
    for (header, path, value) in [
        ("", "kv/a", "of-root"),
        ("/", "kv/a", "of-root"),
        ("///", "kv/a", "of-root"),
        ("/root", "kv/a", "of-root"),
        ("", "ns1/kv/a", "of-ns1"),
        ("//", "ns1/kv/a", "of-ns1"),
        ("root/", "ns1/kv/a", "of-ns1"),
        ("/ns1", "kv/a", "of-ns1"),
        ("//ns1//", "kv/a", "of-ns1"),
    ] {
        let line = format!("GET {path}");
        let text = vault.must(At::Data, &line, Some(header), "").await;
        assert!(text.contains(value), "{header:?} {path}: {text}");
    }
}

/// The vault takes an OCSP request with encoded slashes for the same as one without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ocsp_by_get_is_answered_as_without_the_firewall() {
    let vault = Vault::start();
    let engine = r#"{"type":"pki"}"#;
    vault
        .must(At::Vault, "POST sys/mounts/pki", None, engine)
        .await;
    for request in [
        "MEow/SDBG/MEQw=",
        "MEow%2FSDBG%2F%2fMEQw%3D",
        "a%2Bb%2Fc",
        "%2F%2F",
    ] {
        let line = format!("GET pki/ocsp/{request}");
        let straight = vault.ask(At::Vault, &line, None, "").await;
        let through = vault.ask(At::Data, &line, None, "").await;
        assert_eq!(straight.0, through.0, "{request}: {straight:?} {through:?}");
        assert!(!through.1.contains("Vaultwall denied"), "{through:?}");
        assert_eq!(vault.ask(At::Management, &line, None, "").await.0, 403);
    }
}

/// Terraform's first request, and an auth method at two segments, at the management endpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_management_endpoint_serves_child_tokens_and_listed_auth_mounts() {
    let vault = Vault::start();
    let child = r#"{"display_name":"terraform","ttl":"20m","renewable":false}"#;
    let text = vault
        .must(At::Management, "POST auth/token/create", None, child)
        .await;
    assert!(text.contains("client_token"), "{text}");
    let orphan = vault
        .ask(At::Management, "POST auth/token/create-orphan", None, "{}")
        .await;
    assert_eq!(orphan.0, 403);
    let (method, password) = (r#"{"type":"userpass"}"#, r#"{"password":"x"}"#);
    for (mount, status) in [("eu/k8s", 200), ("a/b/oidc", 200), ("us/k8s", 403)] {
        let mounting = format!("POST sys/auth/{mount}");
        vault.must(At::Management, &mounting, None, method).await;
        let user = format!("POST auth/{mount}/users/ann");
        let made = vault.ask(At::Management, &user, None, password).await;
        assert_eq!(made.0, if status == 200 { 204 } else { 403 }, "{made:?}");
        vault.must(At::Data, &user, None, password).await;
        let login = format!("POST auth/{mount}/login/ann");
        let answer = vault.ask(At::Management, &login, None, password).await;
        assert_eq!(answer.0, status, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_may_be_as_large_as_the_vault_takes() {
    let vault = Vault::start();
    let large = format!(
        "GET /v1/sys/health HTTP/1.1\r\nHost: v\r\nX-Large: {}\r\nconnection: close\r\n\r\n",
        "x".repeat(1_045_000)
    );
    let many = format!(
        "GET /v1/sys/health HTTP/1.1\r\nHost: v\r\n{}connection: close\r\n\r\n",
        "X-Many: x\r\n".repeat(480)
    );
    for at in [At::Vault, At::Data, At::Management] {
        for request in [&large, &many] {
            let answer = exchange(LOCAL, vault.address(at), request.as_bytes()).await;
            assert_eq!(answer.status, Some(200), "{at:?}");
        }
    }
}
