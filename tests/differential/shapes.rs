//! Shapes of targets that are listed one by one, and the methods and namespace headers that each is sent with.

use vaultwall::policy::Listener;

use crate::differential::hostile::{open_firewall, sent};
use crate::differential::run::Case;
use crate::differential::wire::Sent;

/// Target shapes that `vault-api.md` lists, and their neighbours; on both listeners.
pub const TARGETS: &[&str] = &[
    "",
    "*",
    "http://vault/v1/sys/mounts",
    "http://other/v1/secret/data/a",
    "https://vault/v1/sys/health",
    "HTTP://VAULT/v1/sys/mounts",
    "//vault/v1/sys/mounts",
    "v1/sys/mounts",
    "vault:443",
    "/",
    "//",
    "///",
    "/.",
    "/..",
    "/./",
    "/%2e",
    "?list=true",
    "/?list=true",
    "/v1",
    "/v1/",
    "/v1//",
    "/v1/sys",
    "/v1/sys/",
    "/v1/sys/mounts",
    "/v1/sys/mounts/",
    "/v1/sys/mounts//",
    "/v1//sys//mounts",
    "/v1/./sys/mounts",
    "/v1/x/../sys/mounts",
    "/v1/sys/mounts/..",
    "/v1/sys/mounts/../../secret/data/a",
    "/v1/sys/mounts/%2e%2e/%2e%2e/secret/data/a",
    "/v1/sys/mounts/..%2f..%2fsecret/data/a",
    "/v1/sys/mounts/..;/..;/secret/data/a",
    "/v1/sys/mounts/..\\..\\secret\\data\\a",
    "/v1/sys/mounts/%2e%2e%5c%2e%2e%5csecret/data/a",
    "/v1/sys/mounts/.../secret/data/a",
    "/v1/sys/mounts;/secret/data/a",
    "/v1/sys/mounts;x=y",
    "/v1/sys;x/mounts",
    "/v1/sys/mounts%3bx",
    "/v1/sys/mounts%00",
    "/v1/sys/mounts%00/../../secret/data/a",
    "/v1/sys/mounts%20",
    "/v1/sys/mounts%0a",
    "/v1/sys/mounts%0d%0aX-Vault-Namespace:%20ns1",
    "/v1/sys/mounts%23",
    "/v1/sys/mounts#",
    "/v1/sys/mounts#/../../secret",
    "/v1/sys/mounts%3f",
    "/v1/sys/mounts%3flist=true",
    "/v1/sys%2fmounts",
    "/v1/sys%2Fmounts",
    "/v1/sys%5cmounts",
    "/v1%2fsys%2fmounts",
    "%2fv1/sys/mounts",
    "/v1/%73ys/mounts",
    "/v1/%53ys/mounts",
    "/v1/sys/%6dounts",
    "/%76%31/secret/data/a",
    "/v1/secret%2fdata%2fa",
    "/v1/secret/data%2fa",
    "/v1/secret/d%61ta/a",
    "/v1/%73%65%63%72%65%74/data/a",
    "/v1/sys/%69nit",
    "/v1/sys/%2569nit",
    "/v1/sys/in%69t/",
    "/v1/sys/init/",
    "/v1/sys/init",
    "/v1/sys/Init",
    "/V1/sys/init",
    "/v1/SYS/init",
    "/v1/sys/generate-root/attempt",
    "/v1/sys/generate-root%2fattempt",
    "/v1/sys/raw/core/x",
    "/v1/sys/unlisted",
    "/v1/ns1/sys/mounts",
    "/v1/ns1/ns1/sys/mounts",
    "/v1/ns1/sub/sys/mounts",
    "/v1/sub/sys/mounts",
    "/v1/ns1/secret/data/a",
    "/v1/ns1//secret/data/a",
    "/v1/ns1/./secret/data/a",
    "/v1/ns1%2fsecret/data/a",
    "/v1/n%731/secret/data/a",
    "/v1/other/sys/mounts",
    "/v1/other/secret/data/a",
    "/v1/ns1",
    "/v1/ns1/",
    "/v1/ns1/sys/init",
    "/v1/ns1/sys/raw/x",
    "/v1/root/sys/mounts",
    "/v1/secret/data/sys/mounts",
    "/v1/secret/data/a/../../../sys/mounts",
    "/v1/secret/metadata",
    "/v1/secret/metadata/",
    "/v1/secret/metadata/a/",
    "/v1/secret/data/",
    "/v1/secret/data",
    "/v1/secret",
    "/v1/secret/",
    "/v1/kv",
    "/v1/kv/",
    "/v1/kv/a",
    "/v1/kv/a/",
    "/v1/secretx/data/a",
    "/v1/sys/wrapping/unwrap",
    "/v1/sys/workflows/execute/w",
    "/v1/sys/health",
    "/v1/sys/health?standbyok=true",
    "/v1/sys/health?help=1",
    "/v1/sys/metrics",
    "/v1/sys/metrics?format=prometheus",
    "/v1/sys/pprof/heap",
    "/v1/secret/data/caf\u{e9}",
    "/v1/secret/data/%c0%ae%c0%ae/x",
    "/v1/secret/data/%u0061",
    "/v1/transit/encrypt/new",
    "/v1/transit/keys/?list=true",
    "/v1/pki/ocsp/MEow%2Fa%2FSABg%3D%3D",
    "/v1/pki/ocsp/MEow%2fa%2BSABg==",
    "/v1/pki/ocsp/a%2F%2Fb",
    "/v1/pki/ocsp/a//b",
    "/v1/pki/ocsp/%2F",
    "/v1/pki/ocsp/",
    "/v1/pki/ocsp%2Fa",
    "/v1/pki%2Focsp/a",
    "/v1/pki/ocsp/..%2F..%2Fsys%2Fmounts",
    "/v1/pki/ocsp/a%2F..%2Fb",
    "/v1/pki/ocsp/%2e%2e/a%2Fb",
    "/v1/pki/ocsp/a%2Fb?help=1",
    "/v1/pki/ocsp/a%2Fb;x",
    "/v1/pki/ocsp/a%252Fb",
    "/v1/pki/issue/a%2Fb",
    "/v1/secret/ocsp/a%2Fb",
    "/v1/nope/ocsp/a%2Fb",
    "/v1/ns1/pki/ocsp/a%2Fb",
    "/v1/ca/ocsp/a%2Fb",
    "/v1/ns1/ca/ocsp/a%2Fb",
    "/v1/ns1/sub/ca/ocsp/a%2Fb",
    "/v1/secret/data/100%25",
    "/v1/secret/data/a%252Fb",
    "/v1/secret/data/%252e%252e/b",
    "/v1/secret/data/a%23b%3Bc%3fd",
    "/v1/secret/data/..%3Bx/b",
    "/v1/sys/mounts%25",
    "/v1/sys/%2525",
    "/v1/auth/eu/k8s/login",
    "/v1/auth/eu/k8s/login/ann",
    "/v1/auth/eu/k8s/role/r",
    "/v1/auth/eu/k8s/role/r/secret-id",
    "/v1/auth/eu/k8s/users/ann/password",
    "/v1/auth/eu/k8sx/login",
    "/v1/auth/eu/login",
    "/v1/auth/us/k8s/login",
    "/v1/auth/eu/k8s/x/login",
    "/v1/auth/a/b/oidc/config",
    "/v1/auth/a/b/oidc/oidc/auth_url",
    "/v1/auth/a/b/config",
    "/v1/ns1/auth/eu/k8s/login",
    "/v1/nope/auth/eu/k8s/login",
    "/v1/auth/token/create",
    "/v1/auth/token/create/ci",
    "/v1/auth/token/create-orphan",
    "/v1/auth/token/create/a/b",
];

/// Methods that each shape is sent with.
const METHODS: &[&str] = &["GET", "LIST", "POST", "HELP", "DELETE", "PUT"];
/// Namespace headers that each shape is sent with.
pub const NAMESPACES: &[&[&str]] = &[
    &[],
    &["ns1"],
    &["ns1/"],
    &["", "ns1"],
    &["ns1", ""],
    &["other", "ns1"],
    &["root"],
    &["/"],
    &["ns1/.."],
    &["/ns1"],
    &[""],
    &["ns1,other"],
    &["nope"],
    &["ns1/sub"],
    &["//ns1"],
    &["ns1//"],
    &["/ns1/sub//"],
    &["//"],
    &["/root/"],
    &["ns1//sub"],
    &["root/ns1"],
    &["/", "ns1"],
];

/// The case: only the parsing of the request matters, as all networks are allowed.
pub fn case() -> Case {
    Case {
        name: "shapes".into(),
        firewall: open_firewall(),
        requests: requests(),
    }
}

/// Each shape, on both listeners, with some methods and namespace headers.
fn requests() -> Vec<Sent> {
    let mut requests = Vec::new();
    for (index, target) in TARGETS.iter().enumerate() {
        for listener in [Listener::Data, Listener::Management] {
            for (at, method) in METHODS.iter().enumerate() {
                let namespaces = if at < 2 {
                    &[][..]
                } else {
                    NAMESPACES[(index + at) % NAMESPACES.len()]
                };
                requests.push(sent(listener, method, target.as_bytes(), namespaces));
            }
        }
    }
    for namespaces in NAMESPACES {
        for target in [
            "/v1/sys/mounts",
            "/v1/secret/data/a",
            "/v1/ns1/secret/data/a",
            "/v1/sys/raw/x",
            "/v1/sys/health",
        ] {
            for listener in [Listener::Data, Listener::Management] {
                requests.push(sent(listener, "GET", target.as_bytes(), namespaces));
            }
        }
    }
    requests
}
