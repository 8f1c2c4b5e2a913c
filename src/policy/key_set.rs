//! Public keys of token issuers: JSON Web Key Sets (RFC 7517), reduced to what Envoy needs and can use.
//!
//! One set without a usable key makes Envoy refuse the keys of every issuer, and Envoy uses keys for encryption and
//! symmetric keys as well. So each key is checked here first. The result has sorted keys with sorted members, and only
//! those members that a verification needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::violation::quoted;
use crate::api::KeySet;

/// Largest number of keys in a set. A token without a key id is compared with all of them.
pub const MAX_KEYS: usize = 64;
/// Longest key id, in bytes.
const MAX_KEY_ID: usize = 256;
/// Sizes of RSA keys, in bits. Shorter ones are not safe; longer ones take long to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Public exponents of RSA keys that Envoy accepts: 3 and 65,537.
const RSA_EXPONENTS: [&[u8]; 2] = [&[3], &[1, 0, 1]];
/// Signature algorithms of RSA keys.
const RSA_ALGORITHMS: [&str; 6] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
/// Members that only the owner of a key may know (RFC 7518).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key that Envoy can use: its JSON, with sorted members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    /// Key id; empty if the key has none.
    id: String,
    json: String,
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}

/// Usable keys of a set that an issuer serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedKeys {
    /// Usable keys, at least one.
    pub keys: BTreeSet<PublicKey>,
    /// Number of keys that were left out, because they cannot or must not verify a token.
    pub dropped: usize,
}

/// Writes keys as a JSON Web Key Set.
pub fn to_jwks<'k>(keys: impl IntoIterator<Item = &'k PublicKey>) -> Arc<str> {
    let keys: Vec<&str> = keys.into_iter().map(|key| key.json.as_str()).collect();
    format!("{{\"keys\":[{}]}}", keys.join(",")).into()
}

/// Checksum of a key set that [`to_jwks`] wrote: `sha256:` and 64 hexadecimal digits.
pub fn checksum(jwks: &str) -> String {
    let digest = Sha256::digest(jwks.as_bytes());
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", digits.concat())
}

/// Checks the keys that a user wrote, and returns them as a JSON Web Key Set.
///
/// # Errors
/// If there is no key, or one of them cannot or must not verify a token. The text names the key and the correction.
pub fn check(keys: &KeySet) -> Result<Arc<str>, String> {
    check_number(keys.keys.len())?;
    let mut checked = BTreeSet::new();
    for (index, key) in keys.keys.iter().enumerate() {
        let key = public_key(key).map_err(|problem| {
            let id = key.get("kid").and_then(Value::as_str);
            let id = id.map(|id| format!(" (kid {})", quoted(id)));
            format!("keys[{index}]{}: {problem}", id.unwrap_or_default())
        })?;
        checked.insert(key);
    }
    if let Some(id) = ambiguous_ids(&checked).first() {
        return Err(format!(
            "several different keys have the kid {}; give each key an id of its own",
            quoted(id)
        ));
    }
    Ok(to_jwks(&checked))
}

/// Reads the keys that an issuer serves. Keys that cannot or must not verify a token are left out.
///
/// # Errors
/// If it is not a JSON Web Key Set, has too many keys, or none that is usable.
pub fn read(json: &[u8]) -> Result<ServedKeys, String> {
    let value: Value =
        serde_json::from_slice(json).map_err(|error| format!("it is not JSON: {error}"))?;
    let keys = value.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("it is not a JSON Web Key Set: it has no list `keys`")?;
    check_number(keys.len())?;
    let usable = keys.iter().filter_map(Value::as_object);
    let usable: Vec<PublicKey> = usable.filter_map(|key| public_key(key).ok()).collect();
    let unusable = keys.len() - usable.len();
    let mut distinct: BTreeSet<PublicKey> = usable.into_iter().collect();
    let ambiguous = ambiguous_ids(&distinct);
    let all = distinct.len();
    distinct.retain(|key| !ambiguous.contains(&key.id));
    if distinct.is_empty() {
        return Err(format!(
            "none of its {} keys can verify a token: RSA keys of {} to {} bits, EC keys of P-256, P-384 and P-521, and \
             OKP keys of Ed25519 can, each with an id of its own",
            keys.len(),
            RSA_BITS.start(),
            RSA_BITS.end()
        ));
    }
    Ok(ServedKeys {
        dropped: unusable + all - distinct.len(),
        keys: distinct,
    })
}

fn check_number(keys: usize) -> Result<(), String> {
    match keys {
        0 => Err("it has no keys; add the public keys of the issuer".to_owned()),
        1..=MAX_KEYS => Ok(()),
        _ => Err(format!(
            "it has {keys} keys, and {MAX_KEYS} are allowed; remove those that are no longer used"
        )),
    }
}

/// Ids that different keys share. A key without an id is not compared.
fn ambiguous_ids(keys: &BTreeSet<PublicKey>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let named = keys.iter().filter(|key| !key.id.is_empty());
    named
        .filter(|key| !ids.insert(&key.id))
        .map(|key| key.id.clone())
        .collect()
}

/// Reduces a key to its public members. The error says why it is unusable, and the correction.
fn public_key(key: &Map<String, Value>) -> Result<PublicKey, String> {
    let kind = required(key, "kty")?;
    if kind == "oct" {
        return Err(
            "it is a symmetric key (kty \"oct\"): everyone who can verify with it can also sign. Use a \
             public key"
                .into(),
        );
    }
    if let Some(member) = PRIVATE.iter().find(|member| key.contains_key(**member)) {
        return Err(format!(
            "it has the private member `{member}`: anyone who can read it can sign tokens of this issuer. Replace the \
             key, and list only its public members"
        ));
    }
    check_use(key)?;
    let (algorithms, members): (&[&str], _) = match kind {
        "RSA" => (&RSA_ALGORITHMS, rsa(key)?),
        "EC" => elliptic_curve(key)?,
        "OKP" => (&["EdDSA"], octet_key_pair(key)?),
        other => {
            return Err(format!(
                "its kty {} is none of RSA, EC and OKP",
                quoted(other)
            ));
        }
    };
    let algorithm = optional(key, "alg")?;
    if let Some(algorithm) = algorithm.filter(|algorithm| !algorithms.contains(algorithm)) {
        return Err(format!(
            "its alg {} is none of {}, which verify signatures with such a key",
            quoted(algorithm),
            algorithms.join(", ")
        ));
    }
    let id = optional(key, "kid")?.unwrap_or_default();
    if id.len() > MAX_KEY_ID {
        return Err(format!("its kid is longer than {MAX_KEY_ID} bytes"));
    }
    let mut public: BTreeMap<&str, &str> = BTreeMap::from([("kty", kind)]);
    public.extend(algorithm.map(|algorithm| ("alg", algorithm)));
    public.extend((!id.is_empty()).then_some(("kid", id)));
    public.extend(members);
    let json = serde_json::to_string(&public).map_err(|error| error.to_string())?;
    Ok(PublicKey {
        id: id.to_owned(),
        json,
    })
}

/// Refuses a key whose owner declares another purpose than signatures.
fn check_use(key: &Map<String, Value>) -> Result<(), String> {
    if let Some(other) = optional(key, "use")?.filter(|purpose| *purpose != "sig") {
        return Err(format!(
            "its use is {}, and only keys for signatures (\"sig\") verify tokens",
            quoted(other)
        ));
    }
    let verifies = key.get("key_ops").is_none_or(|operations| {
        let mut operations = operations.as_array().into_iter().flatten();
        operations.any(|operation| operation == "verify")
    });
    if verifies {
        Ok(())
    } else {
        Err("its key_ops do not contain \"verify\"".into())
    }
}

type Members<'k> = Vec<(&'static str, &'k str)>;

fn rsa(key: &Map<String, Value>) -> Result<Members<'_>, String> {
    let (modulus, exponent) = (number(key, "n")?, number(key, "e")?);
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = modulus.len() * 8 - unused as usize;
    if !RSA_BITS.contains(&bits) {
        return Err(format!(
            "it is an RSA key of {bits} bits, and {} to {} are allowed",
            RSA_BITS.start(),
            RSA_BITS.end()
        ));
    }
    if modulus.last().is_none_or(|byte| byte % 2 == 0) {
        return Err("its n is even, so it is no RSA key".into());
    }
    if !RSA_EXPONENTS.contains(&exponent.as_slice()) {
        return Err("its e is neither 65537 (AQAB) nor 3 (Aw)".into());
    }
    Ok(vec![("n", required(key, "n")?), ("e", required(key, "e")?)])
}

fn elliptic_curve(
    key: &Map<String, Value>,
) -> Result<(&'static [&'static str], Members<'_>), String> {
    type IsPoint = fn(&[u8]) -> bool;
    let curve = required(key, "crv")?;
    let (algorithm, length, is_point): (&[&str], usize, IsPoint) = match curve {
        "P-256" => (&["ES256"], 32, |point| {
            p256::PublicKey::from_sec1_bytes(point).is_ok()
        }),
        "P-384" => (&["ES384"], 48, |point| {
            p384::PublicKey::from_sec1_bytes(point).is_ok()
        }),
        "P-521" => (&["ES512"], 66, |point| {
            p521::PublicKey::from_sec1_bytes(point).is_ok()
        }),
        other => {
            return Err(format!(
                "its crv {} is none of P-256, P-384 and P-521",
                quoted(other)
            ));
        }
    };
    let (x, y) = (bytes(key, "x", length)?, bytes(key, "y", length)?);
    // The uncompressed form of SEC 1.
    if !is_point(&[&[4], x.as_slice(), y.as_slice()].concat()) {
        return Err(format!("its x and y are no point of the curve {curve}"));
    }
    let members = vec![
        ("crv", curve),
        ("x", required(key, "x")?),
        ("y", required(key, "y")?),
    ];
    Ok((algorithm, members))
}

fn octet_key_pair(key: &Map<String, Value>) -> Result<Members<'_>, String> {
    match required(key, "crv")? {
        "Ed25519" => {
            bytes(key, "x", 32)?;
            Ok(vec![("crv", "Ed25519"), ("x", required(key, "x")?)])
        }
        other => Err(format!("its crv {} is not Ed25519", quoted(other))),
    }
}

fn required<'k>(key: &'k Map<String, Value>, member: &str) -> Result<&'k str, String> {
    optional(key, member)?.ok_or_else(|| format!("it has no member `{member}`"))
}

fn optional<'k>(key: &'k Map<String, Value>, member: &str) -> Result<Option<&'k str>, String> {
    match key.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its member `{member}` is not a text")),
    }
}

/// A number without leading zeros.
fn number(key: &Map<String, Value>, member: &str) -> Result<Vec<u8>, String> {
    let bytes = decoded(key, member)?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn bytes(key: &Map<String, Value>, member: &str, length: usize) -> Result<Vec<u8>, String> {
    let bytes = decoded(key, member)?;
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(format!(
            "its {member} has {} bytes, and {length} are needed",
            bytes.len()
        ))
    }
}

fn decoded(key: &Map<String, Value>, member: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD
        .decode(required(key, member)?)
        .map_err(|error| format!("its {member} is not base64url without padding: {error}"))
}
