//! Headers that a client may send to pass as another client.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use vaultwall::policy::Firewall;

use crate::differential::addresses::near_a_rule;

/// A part of every value that must not get through.
pub const SPOOFED: &str = "spoofed";

/// Names of headers of Envoy, Vaultwall or `OpenBao`, and those that other proxies trust.
const NAMES: &[&str] = &[
    "X-Envoy-External-Address",
    "x-envoy-original-path",
    "X-ENVOY-Internal",
    "x-envoy-original-dst-host",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-retry-on",
    "x-envoy-decorator-operation",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "X-Vaultwall-Token",
    "x-vaultwall-plane",
    "x-vaultwall-reason",
    "x-vaultwall-network-info",
    "X-Vault-Inline-Auth-Path",
    "x-vault-inline-auth-operation",
    "X-VAULT-INLINE-AUTH-PARAMETER-role",
    "X-Vault-Token",
    "X-Vault-Request",
    "X-Vault-Wrap-TTL",
    "X-HTTP-Request",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Forwarded-Path",
    "X-Forwarded-Prefix",
    "X-Client-IP",
    "True-Client-IP",
    "X-Request-Id",
    "x-request-id",
    "Via",
    "Client-Cert",
    "client-cert-chain",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-SSL-Client-Cert",
    "x-ssl-cert",
    "ssl-client-cert",
    "ssl_client_cert",
    "SSL-Client-Verify",
    "X-Client-Cert",
    "X-Client-Certificate",
    "X-Amzn-Mtls-Clientcert",
    "X-ARR-ClientCert",
    "Cf-Client-Cert-Der-Base64",
];
/// Content types that make Envoy or the vault treat a request or its answer in another way.
const CONTENT_TYPES: &[&str] = &[
    "application/grpc",
    "application/grpc+proto",
    "application/grpc-web",
    "application/grpc;x=y",
    "APPLICATION/GRPC",
    "application/x-www-form-urlencoded",
    "application/merge-patch+json",
    "multipart/form-data; boundary=x",
    "text/html",
    "",
];
/// Entries of chains other than addresses. `@` stands for an address.
const NOTATIONS: &[&str] = &[
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    "@",
    " @",
    "@ ",
    "\t@",
    "@\t",
    "  @  ",
    "@:443",
    "[@]",
    "\"@\"",
    "for=@",
    "@;x",
    "@ @",
    "@/32",
    "0@",
    "@.",
    "@%eth0",
    "::ffff:@",
    "::ffff:@",
    "::FFFF:@",
    "[::ffff:@]:80",
    "[::ffff:@]",
    "::ffff:@:80",
    "::fffe:@",
    "0:0:0:0:0:ffff:@",
    "::ffff:cb00:7107",
    "::::",
    "@:0",
    "@:65535",
    "@:99999",
    "@:123456",
    "@:",
    "@:80:80",
    "@:8x",
    "[2001:db8::1]:443",
    "[2001:db8::1]:",
    "[2001:db8::1]x",
    "[::ffff:@",
    "::ffff:@]",
    "::1",
    "[::1]",
    "2001:db8::1",
    "fe80::1%lo",
    "unknown",
    "_hidden",
    "",
    " ",
    "1.2.3",
    "127.1",
    "0x7f.0.0.1",
];
const RAW_NAMESPACES: &[&str] = &[
    "",
    "/",
    "root",
    "root/",
    "/root",
    "Root",
    "sys",
    "ns1",
    "ns1/",
    "/ns1",
    "ns1//",
    "ns1/sub",
    "ns1/../ns1",
    "ns1/..",
    ".",
    "..",
    "ns1,team-a",
    "ns1 team-a",
    "ns%31",
    "ns1;x",
    "ns1\t",
    "nope",
    "nope/deeper",
    "a/b",
    "a//b",
    "a/b/c/",
    "\u{e9}",
    "ns1\\",
    "ns1?list=true",
    "ns1#",
];

/// Spoofed headers, in any number and order.
pub fn headers(rng: &mut ChaCha8Rng, firewall: &Firewall) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    if rng.random_bool(0.6) {
        for _ in 0..*[1, 1, 1, 2, 2, 3].choose(rng).unwrap() {
            let name = *["X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR"]
                .choose(rng)
                .unwrap();
            headers.push((name.to_owned(), chain(rng, firewall).into_bytes()));
        }
    }
    for name in [
        "X-Real-IP",
        "Forwarded",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
    ] {
        if rng.random_bool(0.1) {
            let address = near_a_rule(rng, firewall);
            let value = match name {
                "Forwarded" => format!("for={address};proto=https"),
                "X-Forwarded-Proto" => "https".into(),
                _ => address.to_string(),
            };
            headers.push((name.to_owned(), value.into_bytes()));
        }
    }
    for _ in 0..rng.random_range(0..=2) {
        let name = *NAMES.choose(rng).unwrap();
        let values = [
            format!("{SPOOFED} true"),
            format!("/v1/sys/health?{SPOOFED}"),
            format!("{SPOOFED}, HELP"),
        ];
        // Some twice: readers differ in which of the lines they use.
        for _ in 0..*[1, 1, 1, 2].choose(rng).unwrap() {
            headers.push((
                name.to_owned(),
                values.choose(rng).unwrap().clone().into_bytes(),
            ));
        }
    }
    if rng.random_bool(0.2) {
        for _ in 0..*[1, 1, 1, 2].choose(rng).unwrap() {
            let value = *CONTENT_TYPES.choose(rng).unwrap();
            headers.push(("Content-Type".to_owned(), value.as_bytes().to_vec()));
        }
    }
    headers
}

/// A value of `X-Forwarded-For`.
fn chain(rng: &mut ChaCha8Rng, firewall: &Firewall) -> String {
    let length = match rng.random_range(0..20) {
        0 => 0,
        1 => rng.random_range(10..60),
        _ => rng.random_range(1..=4),
    };
    let entries: Vec<String> = (0..length)
        .map(|_| {
            let address = near_a_rule(rng, firewall).to_string();
            let plain = rng.random_bool(0.7);
            let notation = if plain {
                "@"
            } else {
                NOTATIONS.choose(rng).unwrap()
            };
            notation.replace('@', &address)
        })
        .collect();
    entries.join(if rng.random_bool(0.5) { ", " } else { "," })
}

/// Namespace headers that no usual client sends.
pub fn odd_namespaces(rng: &mut ChaCha8Rng, firewall: &Firewall) -> Vec<(String, Vec<u8>)> {
    let count = *[1, 1, 1, 2, 2, 3].choose(rng).unwrap();
    (0..count)
        .map(|_| {
            let name = *[
                "X-Vault-Namespace",
                "x-vault-namespace",
                "X-VAULT-NAMESPACE",
            ]
            .choose(rng)
            .unwrap();
            let value = match firewall.namespaces.choose(rng) {
                Some(listed) if rng.random_bool(0.5) => listed.clone(),
                _ => (*RAW_NAMESPACES.choose(rng).unwrap()).to_owned(),
            };
            (name.to_owned(), value.into_bytes())
        })
        .collect()
}
