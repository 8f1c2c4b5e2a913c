//! Requests: good ones of every line of the profile, and what a hostile client makes of them.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use vaultwall::policy::token::TokenProof;
use vaultwall::policy::{EngineNamespace, Firewall, Listener};

use crate::differential::addresses::peer;
use crate::differential::grants::tokens;
use crate::differential::headers::{headers, odd_namespaces};
use crate::differential::hostile::mutate;
use crate::differential::profile::{Written, word};
use crate::differential::wire::Sent;

const METHODS: &[&str] = &[
    "GET", "GET", "POST", "PUT", "LIST", "SCAN", "DELETE", "PATCH", "HEAD", "OPTIONS", "HELP",
    "get", "List", "TRACE", "PROPFIND", "FOO", "PRI", "UNLOCK", "GETX", "G", "list", "POST-X",
    "help", "M-SEARCH", "CONNECT",
];
const FLAGS: &[&str] = &[
    "list=true",
    "list=1",
    "list=t",
    "list=T",
    "list=TRUE",
    "list=True",
    "list=false",
    "list=0",
    "list=",
    "list",
    "list=tRUE",
    "list=yes",
    "list=2",
    "list=true&list=false",
    "list=false&list=true",
    "list&list=true",
    "l%69st=true",
    "list=%74rue",
    "list=true%20",
    "list=+true",
    "LIST=true",
    "list=true;x",
    "a=b;list=true",
    "a=b&list=true",
    "&list=true",
    "?list=true",
    "=true&list=1",
    "li=1&list=1",
    "lists=1&list=t",
    "list==true",
    "list=true=",
    "list=true&scan=true",
    "scan=true",
    "scan=1",
    "scan=x",
    "scan=false&list=true",
    "scan",
    "s%63an=true",
    "help=1",
    "help=0",
    "help=",
    "help",
    "h%65lp=1",
    "help=&help=1",
    "hel=p&help=1",
    "help=1&list=true",
    "version=2",
    "x=%zz",
    "x=%",
    "x=a+b",
    "a+b=c",
    "x=%00",
    "x=%2f%5c..",
    "after=a&limit=10",
    "api-version=7.6",
    "api-version=7.6&$skiptoken=ey1&maxresults=2",
    "%24skiptoken=ey1&api-version=7.6",
];
/// Methods that requests announce, right and wrong ones.
const ANNOUNCED: &[&[u8]] = &[
    b"GET",
    b"GET",
    b"POST",
    b"PUT",
    b"LIST",
    b"SCAN",
    b"DELETE",
    b"PATCH",
    b"HEAD",
    b"HELP",
    b"OPTIONS",
    b"",
    b"get",
    b"FOO",
    b"GET POST",
    b"GET,POST",
    b"*",
    b"POST\xff",
    b"\xff",
];
/// Protocols that clients offer.
const UPGRADES: &[&str] = &[
    "TLS/1.2",
    "TLS/1.2, TLS/1.1",
    "websocket",
    "h2c",
    "HTTP/2.0",
    "foo, websocket",
    "",
];
const HOSTS: &[&str] = &[
    "vault",
    "127.0.0.1:8200",
    "vault.example.com",
    "OTHER",
    "evil.example:1",
    "[::1]:8200",
];
const ELSEWHERE: &[&str] = &[
    "/",
    "/v1",
    "/v1/",
    "//",
    "/ui/",
    "/ui/vault/secrets",
    "/v2/secret/data/a",
    "/V1/secret/data/a",
    "/v1/sys",
    "/v1/sys/",
    "/v1/sys/x",
    "/v1/sys/raw/core",
    "/v1/system",
    "/v1/sys/healthy",
    "/v1/sys/health/",
    "/v1/sys/mounts-x",
    "/v1/auth",
    "/v1/auth/",
    "/v1/identity",
    "/v1/identity/oidc/token/role",
    "/v1/identity/oidc/.well-known/keys",
    "/robots.txt",
    "/v1/.well-known/x",
    "/v1/auth/token/create",
    "/v1/auth/approle/role/r/secret-id",
    "/v1/auth/a/config/role/r/secret-id",
    "/v1/auth/token/lookup",
    "/v1/sys/unseal",
    "/v1/sys/wrapping/unwrap",
    "/v1/sys/workflows/execute/x",
    "/v1/v1/sys/mounts",
    "/v1/root/sys/mounts",
    "/v1/nope/sys/mounts",
    "/v1/sys/sys/mounts",
    "/v1/ns1/ns1/sys/mounts",
    "/v1/cubbyhole/response",
    "/sys/mounts",
    "/v1/sys/internal/ui/mounts/secret",
    "/v1/sys/policies/password/p/generate",
    "/v1/sys/leases/lookup/a/b",
];

/// A request to a firewall.
pub fn request(rng: &mut ChaCha8Rng, firewall: &Firewall) -> Sent {
    let (mut method, path, namespace) = ordinary(rng, firewall);
    let mut headers = headers(rng, firewall);
    headers.extend(tokens(rng));
    let prefix = &Written::of(firewall.api).dialect.prefix;
    let mut target = format!("{prefix}{path}");
    match rng.random_range(0..10) {
        0 => target = String::from(*ELSEWHERE.choose(rng).unwrap()),
        1 => headers.extend(odd_namespaces(rng, firewall)),
        2 => {
            headers.extend(odd_namespaces(rng, firewall));
            target = format!("{prefix}{}/{path}", namespace.as_deref().unwrap_or("ns1"));
        }
        3..=6 => {
            if let Some(namespace) = &namespace {
                let slash = if rng.random_bool(0.2) { "/" } else { "" };
                headers.push((
                    "X-Vault-Namespace".into(),
                    format!("{namespace}{slash}").into_bytes(),
                ));
            }
        }
        _ => {
            if let Some(namespace) = &namespace {
                target = format!("{prefix}{namespace}/{path}");
            }
        }
    }
    if rng.random_bool(0.15) {
        method = String::from(*METHODS.choose(rng).unwrap());
    }
    if rng.random_bool(0.3) {
        let flags: Vec<&str> = (0..rng.random_range(1..=2))
            .map(|_| *FLAGS.choose(rng).unwrap())
            .collect();
        target = format!("{target}?{}", flags.join("&"));
    }
    if method == "OPTIONS" || rng.random_bool(0.1) {
        method = String::from("OPTIONS");
        for _ in 0..*[1, 1, 1, 1, 0, 2].choose(rng).unwrap() {
            let announced = *ANNOUNCED.choose(rng).unwrap();
            headers.push(("Access-Control-Request-Method".into(), announced.into()));
        }
    } else if rng.random_bool(0.05) {
        let announced = *ANNOUNCED.choose(rng).unwrap();
        headers.push(("Access-Control-Request-Method".into(), announced.into()));
    }
    if rng.random_bool(0.1) {
        let offered = *UPGRADES.choose(rng).unwrap();
        headers.push(("Upgrade".into(), offered.into()));
    }
    let mut target = target.into_bytes();
    if rng.random_bool(0.4) {
        for _ in 0..rng.random_range(1..=3) {
            mutate(rng, &mut target);
        }
    }
    Sent {
        listener: if rng.random_bool(0.6) {
            Listener::Data
        } else {
            Listener::Management
        },
        from: peer(rng, firewall),
        method: method.into_bytes(),
        target,
        host: HOSTS.choose(rng).unwrap(),
        version: if rng.random_bool(0.1) { "1.0" } else { "1.1" },
        proof: TokenProof::None,
        headers,
    }
}

/// Method, path and namespace of a good request.
pub fn ordinary(rng: &mut ChaCha8Rng, firewall: &Firewall) -> (String, String, Option<String>) {
    let profile = Written::of(firewall.api);
    let engine = firewall.engines.choose(rng);
    if let (Some(engine), true) = (engine, rng.random_bool(0.5)) {
        let (method, path) = match profile.engines[&engine.engine_type].choose(rng) {
            Some(line) => line.example(rng, &profile.dialect),
            None => ("GET".into(), format!("creds/{}", word(rng))),
        };
        let namespace = match &engine.namespace {
            _ if rng.random_bool(0.1) => firewall.namespaces.choose(rng).cloned(),
            EngineNamespace::Root => None,
            EngineNamespace::EveryListed => firewall.namespaces.choose(rng).cloned(),
            EngineNamespace::Named(name) => Some(name.clone()),
        };
        let slash = if path.is_empty() { "" } else { "/" };
        return (method, format!("{}{slash}{path}", engine.path), namespace);
    }
    let line = profile.system.choose(rng).unwrap();
    let (method, mut path) = line.example(rng, &profile.dialect);
    if let (Some(mount), true) = (firewall.auth_mounts.choose(rng), rng.random_bool(0.7)) {
        let rest = path
            .strip_prefix("auth/")
            .and_then(|rest| rest.split_once('/'));
        path = match rest {
            Some((first, rest)) if first != "token" => format!("auth/{mount}/{rest}"),
            _ => path,
        };
    }
    let namespace = match rng.random_range(0..10) {
        0..=5 => None,
        6 => Some("nope".into()),
        _ => firewall.namespaces.choose(rng).cloned(),
    };
    (method, path, namespace)
}
