//! Hostile shapes of targets: every one of `vault-api.md`, every byte, and random mutations of good ones.

use std::net::Ipv4Addr;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use vaultwall::policy::token::TokenProof;
use vaultwall::policy::{
    DefaultAction, Engine, EngineNamespace, EngineType, Firewall, Listener, ManagementAccess,
};

use crate::differential::firewalls::vault;
use crate::differential::run::Case;
use crate::differential::wire::Sent;

/// Fragments that may be inserted anywhere into a target.
const INSERTED: &[&[u8]] = &[
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"/.",
    b"/..",
    b"/%2e/",
    b"/%2E%2e/",
    b"/.%2e/",
    b"/..;/",
    b"/..;x=y/",
    b"/.;/",
    b"/.;x",
    b"/%2e%2e;/",
    b"/..%3b/",
    b"/...;/",
    b"\\",
    b"\\..\\",
    b"/..\\",
    b";",
    b";x=y",
    b"%3b",
    b"%3B",
    b"%2f",
    b"%2F",
    b"%5c",
    b"%5C",
    b"%25",
    b"%252f",
    b"%252e%252e%252f",
    b"%00",
    b"%0a",
    b"%0d%0a",
    b"%09",
    b"%7f",
    b"%ff",
    b"%c0%af",
    b"%c0%ae%c0%ae",
    b"%e0%80%af",
    b"%c1%9c",
    b"%ed%a0%80",
    b"%f8%88%80%80%80",
    b"%zz",
    b"%",
    b"%2",
    b"%u002f",
    b"#",
    b"#/../",
    b"?",
    b"?list=true",
    b"&list=true",
    b"*",
    b"|",
    b"%e2%82%ac",
    "é".as_bytes(),
    b"\xff\xfe",
];

/// Changes a target at a random place.
pub fn mutate(rng: &mut ChaCha8Rng, target: &mut Vec<u8>) {
    let place = rng.random_range(0..=target.len());
    match rng.random_range(0..12) {
        0 => target.insert(place, plausible(rng)),
        1 if place < target.len() => {
            let byte = target[place];
            let encoded = if rng.random() {
                format!("%{byte:02x}")
            } else {
                format!("%{byte:02X}")
            };
            target.splice(place..=place, encoded.bytes());
        }
        2 if place < target.len() => {
            let byte = target[place];
            target.splice(place..=place, format!("%25{byte:02x}").bytes());
        }
        3 => {
            let byte: u8 = rng.random();
            target.splice(place..place, format!("%{byte:02X}").bytes());
        }
        4 if place < target.len() => {
            target.remove(place);
        }
        5 => target.push(b'/'),
        6 if place < target.len() => target[place] = target[place].to_ascii_uppercase(),
        7 => {
            // In front of a segment, where dot segments and namespaces matter.
            let slashes: Vec<usize> = (0..target.len()).filter(|at| target[*at] == b'/').collect();
            let at = slashes.choose(rng).copied().unwrap_or_default();
            target.splice(at..at, INSERTED.choose(rng).unwrap().iter().copied());
        }
        8 => {
            let at = target
                .iter()
                .position(|byte| *byte == b'?')
                .unwrap_or(target.len());
            target.splice(at..at, INSERTED.choose(rng).unwrap().iter().copied());
        }
        9 if rng.random_bool(0.2) => target.truncate(place),
        _ => {
            target.splice(place..place, INSERTED.choose(rng).unwrap().iter().copied());
        }
    }
}

/// Any byte but those that end a line, which would make another request of it; those are sent by [`every_byte`].
fn plausible(rng: &mut ChaCha8Rng) -> u8 {
    loop {
        let byte: u8 = rng.random();
        if !matches!(byte, b'\r' | b'\n') {
            return byte;
        }
    }
}

/// Cases in which only the parsing of the request matters: all networks are allowed.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, firewall, requests| Case {
        name: name.into(),
        firewall,
        requests,
    };
    vec![
        case("every byte", open_firewall(), every_byte()),
        case("look-alikes", look_alikes(), paths_of_look_alikes()),
        case("long", open_firewall(), long()),
    ]
}

/// Paths of every length around the largest one in the access log, and longer ones.
fn long() -> Vec<Sent> {
    let lengths = (1_020..1_030).chain([3_000, 20_000]);
    lengths
        .flat_map(|length| {
            let path = format!(
                "/v1/secret/data/{}",
                "a".repeat(length - "/v1/secret/data/".len())
            );
            [
                path.clone(),
                format!("{path}?version=1"),
                format!("{path};"),
                format!("{path}%C3%A9"),
            ]
        })
        .flat_map(|target| {
            [Listener::Data, Listener::Management]
                .map(|listener| sent(listener, "GET", target.as_bytes(), &[]))
        })
        .collect()
}

/// Namespaces that begin like mounts and like the vault's own paths, and mounts that lie beneath one another, in
/// different namespaces.
fn look_alikes() -> Firewall {
    let engine = |path: &str, namespace| Engine {
        path: path.into(),
        engine_type: EngineType::KvV1,
        namespace,
    };
    let named = |name: &str| EngineNamespace::Named(name.into());
    Firewall {
        engines: vec![
            engine("team", EngineNamespace::Root),
            engine("kv", EngineNamespace::Root),
            engine("kv/nested", named("authors")),
            engine("kv", named("team-a")),
            engine("sysx", EngineNamespace::EveryListed),
        ],
        namespaces: [
            "team-a",
            "authors",
            "system",
            "identity-x",
            "kv2",
            "authors/sub",
        ]
        .map(String::from)
        .into(),
        ..open_firewall()
    }
}

fn paths_of_look_alikes() -> Vec<Sent> {
    let starts = [
        "",
        "team-a/",
        "authors/",
        "system/",
        "identity-x/",
        "kv2/",
        "authors/sub/",
        "sub/",
        "authors2/",
        "team/",
        "kv/",
    ];
    let paths = [
        "sys/mounts",
        "sys/raw/x",
        "sys/unlisted",
        "sys/health",
        "sys",
        "auth/token/lookup-self",
        "identity/entity/id/x",
        "team/a",
        "team",
        "kv/a",
        "kv/nested/a",
        "kv/nested",
        "kv/nestedx",
        "sysx/a",
        "sysx",
        "kv2/a",
        "team-a",
    ];
    let headers: [&[&str]; 5] = [&[], &["team-a"], &["authors/"], &["authors/sub"], &["nope"]];
    let mut requests = Vec::new();
    for listener in [Listener::Data, Listener::Management] {
        for (start, path) in starts
            .iter()
            .flat_map(|start| paths.map(|path| (start, path)))
        {
            for namespaces in headers {
                let target = format!("/v1/{start}{path}");
                requests.push(sent(listener, "GET", target.as_bytes(), namespaces));
            }
        }
    }
    requests
}

/// A firewall that denies by reading only.
pub fn open_firewall() -> Firewall {
    let engine = |path: &str, engine_type, namespace| Engine {
        path: path.into(),
        engine_type,
        namespace,
    };
    Firewall {
        policies: vec!["open".into()],
        engines: vec![
            engine("secret", EngineType::KvV2, EngineNamespace::Root),
            engine("kv", EngineType::KvV1, EngineNamespace::Root),
            engine("secret", EngineType::KvV2, EngineNamespace::EveryListed),
            engine("transit", EngineType::Transit, EngineNamespace::Root),
            engine("pki", EngineType::Pki, EngineNamespace::Root),
            engine("ca", EngineType::Pki, EngineNamespace::Named("ns1".into())),
        ],
        auth_mounts: vec!["eu/k8s".into(), "a/b/oidc".into()],
        namespaces: vec!["ns1".into(), "ns1/sub".into()],
        default_action: DefaultAction::Allow,
        management: ManagementAccess::Unrestricted,
        ..Firewall::deny_all(vault(), 8200)
    }
}

pub fn sent(listener: Listener, method: &str, target: &[u8], namespaces: &[&str]) -> Sent {
    Sent {
        listener,
        from: Ipv4Addr::LOCALHOST,
        method: method.into(),
        target: target.to_vec(),
        host: "vault",
        version: "1.1",
        proof: TokenProof::None,
        headers: namespaces
            .iter()
            .map(|value| ("X-Vault-Namespace".to_owned(), value.as_bytes().to_vec()))
            .collect(),
    }
}

/// Every byte as it is and encoded, in a path and at both its ends, a query's key and value, a namespace and a method.
fn every_byte() -> Vec<Sent> {
    let mut requests = Vec::new();
    for byte in 0..=u8::MAX {
        for written in [
            vec![byte],
            format!("%{byte:02x}").into_bytes(),
            format!("%{byte:02X}").into_bytes(),
        ] {
            for (start, end) in [
                ("/v1/secret/data/a", "b"),
                ("/v1/secret/metadata?li", "st=true"),
                ("/v1/secret/metadata?list=tr", "ue"),
                ("", "/v1/secret/data/a"),
                ("/v1/secret/data/a", ""),
            ] {
                // A line that ends early is a request by HTTP/0.9 without headers; `framing` sends those.
                if written == b"\n" {
                    continue;
                }
                let target = [start.as_bytes(), &written, end.as_bytes()].concat();
                requests.push(sent(Listener::Data, "GET", &target, &[]));
            }
        }
        if byte != b'\n' {
            let target = [&b"/v1/sys"[..], &[byte], b"mounts"].concat();
            requests.push(sent(Listener::Management, "GET", &target, &[]));
        }
        if !matches!(byte, b'\r' | b'\n') {
            let mut odd = sent(Listener::Data, "GET", b"/v1/secret/data/a", &[]);
            odd.headers = vec![(
                "X-Vault-Namespace".into(),
                [b"n", &[byte][..], b"1"].concat(),
            )];
            requests.push(odd);
            let mut odd = sent(Listener::Data, "GET", b"/v1/secret/data/a", &[]);
            odd.method = [b"GE", &[byte][..], b"T"].concat();
            requests.push(odd);
        }
    }
    requests
}
