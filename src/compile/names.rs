//! Names of the objects that are made for a vault.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest name: a Service's is a DNS label, and all objects of one vault are called alike.
const LONGEST: usize = 63;
/// Hexadecimal digits of the hash in a shortened name: with 40 bits nobody's two Services meet by chance.
const HASH_DIGITS: usize = 10;

/// `<service>-firewall`: the proxies, and all that belongs to them.
pub fn firewall_name(service: &str) -> String {
    generated_name(service, "firewall")
}

/// `<service>-vault`: what is around the vault's own pods.
pub fn vault_name(service: &str) -> String {
    generated_name(service, "vault")
}

/// `<service>-<suffix>`; where that is too long, the service's name is cut and its hash put in place of the rest, so
/// that two long names never come to one.
fn generated_name(service: &str, suffix: &str) -> String {
    let name = format!("{service}-{suffix}");
    if name.len() <= LONGEST {
        return name;
    }
    let kept = LONGEST.saturating_sub(HASH_DIGITS + suffix.len() + 2);
    // Names of Services are ASCII, so every byte is a character.
    let start = service.get(..kept).unwrap_or_default();
    let start = start.trim_end_matches('-');
    let mut hash = hash(service.as_bytes());
    hash.truncate(HASH_DIGITS);
    format!("{start}-{hash}-{suffix}")
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_are_plain() {
        assert_eq!(firewall_name("openbao"), "openbao-firewall");
        assert_eq!(vault_name("openbao"), "openbao-vault");
        let longest = "a".repeat(LONGEST - "-firewall".len());
        assert_eq!(firewall_name(&longest), format!("{longest}-firewall"));
    }

    #[test]
    fn longer_names_are_cut_and_stay_apart() {
        let long = "a".repeat(LONGEST);
        assert_eq!(
            firewall_name(&long),
            format!("{}-7d3e74a05d-firewall", "a".repeat(43))
        );
        assert_eq!(firewall_name(&long).len(), LONGEST);
        assert_eq!(vault_name(&long).len(), LONGEST);
        let other = format!("{}b", "a".repeat(LONGEST - 1));
        assert_ne!(firewall_name(&long), firewall_name(&other));
        // Cut after a dash, there are not two in a row.
        let dashed = format!("{}-{}", "a".repeat(42), "b".repeat(20));
        assert!(firewall_name(&dashed).starts_with(&format!("{}-", "a".repeat(42))));
        assert!(!firewall_name(&dashed).contains("--"));
    }
}
