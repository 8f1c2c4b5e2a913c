//! An issuer of signed tokens (JSON Web Tokens), and of false ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// An issuer with one EC key.
pub struct Issuer {
    /// Issuer of its tokens, an https URL.
    pub url: String,
    id: String,
    pair: EcdsaKeyPair,
}

impl Issuer {
    /// Makes a key with this id.
    pub fn new(url: &str, id: &str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self {
            url: url.to_owned(),
            id: id.to_owned(),
            pair: EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap(),
        }
    }

    /// Its public key, as a member of a JSON Web Key Set.
    pub fn key(&self) -> Value {
        // The uncompressed form of SEC 1: 4, x, y.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": base64(x), "y": base64(y)})
    }

    /// Its JSON Web Key Set.
    pub fn jwks(&self) -> String {
        json!({"keys": [self.key()]}).to_string()
    }

    /// A token with these claims; `iss` is the issuer's own unless the claims contain another.
    pub fn token(&self, claims: &Value) -> String {
        let signed = self.unsigned(&json!({"alg": "ES256", "kid": self.id}), claims);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", base64(signature.unwrap().as_ref()))
    }

    /// A token that claims to have no signature.
    pub fn unsigned_token(&self, claims: &Value) -> String {
        format!("{}.", self.unsigned(&json!({"alg": "none"}), claims))
    }

    /// A token signed by HMAC, with the issuer's public key as the secret.
    pub fn symmetric_token(&self, claims: &Value) -> String {
        let signed = self.unsigned(&json!({"alg": "HS256", "kid": self.id}), claims);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.pair.public_key().as_ref());
        format!(
            "{signed}.{}",
            base64(hmac::sign(&secret, signed.as_bytes()).as_ref())
        )
    }

    fn unsigned(&self, header: &Value, claims: &Value) -> String {
        let mut payload = json!({"iss": self.url});
        for (claim, value) in claims.as_object().unwrap() {
            payload[claim] = value.clone();
        }
        format!(
            "{}.{}",
            base64(header.to_string().as_bytes()),
            base64(payload.to_string().as_bytes())
        )
    }
}

/// Replaces the payload of a token, and keeps its signature.
pub fn with_payload(token: &str, payload: &Value) -> String {
    let mut parts: Vec<&str> = token.split('.').collect();
    let payload = base64(payload.to_string().as_bytes());
    parts[1] = &payload;
    parts.join(".")
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
