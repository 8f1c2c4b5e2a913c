//! Key sets and the real Envoy: it accepts every key that passes the check.

use serde_json::{Value, json};
use vaultwall::api::KeySet;
use vaultwall::policy::key_set;

use super::keys;

/// Beginning of the types of filters.
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";

/// Envoy's error about a filter with this key set, if it has one.
fn refused(jwks: &str) -> Option<String> {
    let filters = json!([
        {"name": "keys", "typed_config": {
            "@type": format!("{FILTERS}.http.jwt_authn.v3.JwtAuthentication"),
            "providers": {"issuer": {"issuer": "https://issuer.example", "local_jwks": {"inline_string": jwks}}},
            "rules": [{"match": {"prefix": "/"}, "requires": {"allow_missing_or_failed": {}}}],
        }},
        {"name": "router", "typed_config": {
            "@type": format!("{FILTERS}.http.router.v3.Router"),
        }},
    ]);
    let manager = json!({
        "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "test", "route_config": {}, "http_filters": filters,
    });
    let bootstrap = json!({"static_resources": {"listeners": [{
        "address": {"pipe": {"path": "@key-sets"}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }]}});
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), bootstrap.to_string()).unwrap();
    testkit::envoy::validation_error(file.path())
}

#[test]
fn envoy_accepts_each_usable_key() {
    for (name, key) in keys::usable() {
        let keys = vec![key.as_object().unwrap().clone()];
        let jwks = key_set::check(&KeySet { keys }).unwrap();
        assert_eq!(refused(&jwks), None, "{name}");
    }
}

/// The reason for the check: one such set would stop the keys of all issuers.
#[test]
fn envoy_refuses_a_set_without_a_key_that_it_can_use() {
    let refused: Vec<&str> = keys::unusable()
        .into_iter()
        .filter(|(_, key, _)| refused(&jwks(key)).is_some())
        .map(|(name, _, _)| name)
        .collect();
    let expected = [
        "no kty",
        "kty is a number",
        "another kty",
        "RSA for ES256",
        "even RSA",
        "RSA, exponent 1",
        "RSA without n",
        "P-256 for ES384",
        "secp256k1",
        "EC without crv",
        "no point",
        "short x",
        "X25519",
        "Ed25519, short",
    ];
    assert_eq!(refused, expected);
}

fn jwks(key: &Value) -> String {
    json!({"keys": [key]}).to_string()
}
