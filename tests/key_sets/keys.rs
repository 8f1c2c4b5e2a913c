//! Public keys for tests: those that can verify tokens, and those that cannot or must not.

use serde_json::{Value, json};

/// Modulus of the RSA key of RFC 7517, appendix A.1.
const MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE\
     CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-\
     65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-\
     bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

/// Keys that can verify tokens, with a name each.
pub fn usable() -> Vec<(&'static str, Value)> {
    vec![
        ("RSA", rsa(&json!({"kid": "rsa"}))),
        ("RSA for PS256", rsa(&json!({"alg": "PS256", "use": "sig"}))),
        (
            "RSA, exponent 3",
            rsa(&json!({"kid": "three", "e": "Aw", "key_ops": ["verify"]})),
        ),
        ("P-256", p256(&json!({"kid": "p256"}))),
        ("P-256 for ES256", p256(&json!({"alg": "ES256"}))),
        ("P-384", p384()),
        ("P-521", p521()),
        ("Ed25519", ed25519(&json!({"alg": "EdDSA"}))),
    ]
}

/// Keys that cannot or must not verify tokens: a name, the key, and a part of the message.
pub fn unusable() -> Vec<(&'static str, Value, &'static str)> {
    [unusable_rsa(), unusable_curves()].concat()
}

fn unusable_rsa() -> Vec<(&'static str, Value, &'static str)> {
    let short_modulus = &MODULUS[..168];
    vec![
        ("no kty", json!({"kid": "a"}), "no member `kty`"),
        ("kty is a number", json!({"kty": 1}), "`kty` is not a text"),
        ("another kty", json!({"kty": "AKP"}), "kty \"AKP\""),
        (
            "symmetric",
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            "symmetric",
        ),
        (
            "private RSA",
            rsa(&json!({"d": "AQAB"})),
            "private member `d`",
        ),
        (
            "private EC",
            p256(&json!({"d": "AQAB"})),
            "private member `d`",
        ),
        (
            "RSA for encryption",
            rsa(&json!({"use": "enc"})),
            "use is \"enc\"",
        ),
        (
            "RSA that signs",
            rsa(&json!({"key_ops": ["sign"]})),
            "key_ops",
        ),
        (
            "RSA-OAEP",
            rsa(&json!({"alg": "RSA-OAEP"})),
            "alg \"RSA-OAEP\"",
        ),
        (
            "RSA for ES256",
            rsa(&json!({"alg": "ES256"})),
            "alg \"ES256\"",
        ),
        (
            "alg is null",
            rsa(&json!({"alg": null})),
            "`alg` is not a text",
        ),
        (
            "kid is a number",
            rsa(&json!({"kid": 7})),
            "`kid` is not a text",
        ),
        (
            "RSA of 1,008 bits",
            rsa(&json!({"n": short_modulus})),
            "RSA key of 1008",
        ),
        (
            "even RSA",
            rsa(&json!({"n": format!("{}A", &MODULUS[..341])})),
            "even",
        ),
        (
            "RSA, exponent 1",
            rsa(&json!({"e": "AQ"})),
            "its e is neither",
        ),
        (
            "RSA without n",
            json!({"kty": "RSA", "e": "AQAB"}),
            "no member `n`",
        ),
        (
            "padded RSA",
            rsa(&json!({"e": "Aw=="})),
            "its e is not base64url",
        ),
        (
            "kid is long",
            rsa(&json!({"kid": "k".repeat(257)})),
            "kid is longer",
        ),
    ]
}

fn unusable_curves() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "P-256 for ES384",
            p256(&json!({"alg": "ES384"})),
            "alg \"ES384\"",
        ),
        (
            "secp256k1",
            p256(&json!({"crv": "secp256k1", "alg": "ES256K"})),
            "crv \"secp256k1\"",
        ),
        (
            "EC without crv",
            p256(&json!({"crv": 1})),
            "`crv` is not a text",
        ),
        (
            "no point",
            p256(&json!({"y": p256(&json!({}))["x"]})),
            "no point of the curve",
        ),
        (
            "short x",
            p256(&json!({"x": "AQAB"})),
            "its x has 3 bytes, and 32",
        ),
        (
            "X25519",
            ed25519(&json!({"crv": "X25519"})),
            "crv \"X25519\"",
        ),
        (
            "Ed25519, short",
            ed25519(&json!({"x": "AQAB"})),
            "its x has 3 bytes",
        ),
    ]
}

/// The RSA key of RFC 7517 with other members.
pub fn rsa(changes: &Value) -> Value {
    changed(json!({"kty": "RSA", "n": MODULUS, "e": "AQAB"}), changes)
}

/// The EC key of RFC 7517 with other members.
pub fn p256(changes: &Value) -> Value {
    let key = json!({
        "kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    changed(key, changes)
}

/// The base point of the curve (SEC 2), which is the public key of the private key 1.
fn p384() -> Value {
    json!({
        "kty": "EC", "crv": "P-384",
        "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
        "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
    })
}

/// The EC key of RFC 7520, section 3.1.
fn p521() -> Value {
    json!({
        "kty": "EC", "crv": "P-521", "alg": "ES512", "kid": "p521",
        "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
    })
}

/// The key of RFC 8032, section 7.1, test 1, with other members.
fn ed25519(changes: &Value) -> Value {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    changed(key, changes)
}

fn changed(mut key: Value, changes: &Value) -> Value {
    for (member, value) in changes.as_object().unwrap() {
        key[member] = value.clone();
    }
    key
}
