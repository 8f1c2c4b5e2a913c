//! Names of the objects that are generated for a vault.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest name in characters. All objects of one vault share it, and a Service's name is a DNS label.
const LONGEST: usize = 63;
/// Hexadecimal digits of the hash in a shortened name: with 40 bits, two Services do not collide by chance.
const HASH_DIGITS: usize = 10;

/// `<service>-firewall`: name of the proxies' objects.
pub fn firewall_name(service: &str) -> String {
    generated_name(service, "firewall")
}

/// `<service>-vault`: name of the vault's `NetworkPolicy`, which selects the vault's own pods.
pub fn vault_name(service: &str) -> String {
    generated_name(service, "vault")
}

/// `<service>-vault-<hash>`: name of the `NetworkPolicy` of pods that the Service selected earlier, by the text of that
/// selector.
pub fn earlier_vault_name(service: &str, selector: &str) -> String {
    let mut hash = hash(selector.as_bytes());
    hash.truncate(HASH_DIGITS);
    generated_name(service, &format!("vault-{hash}"))
}

/// `<service>-<suffix>`. A name that is too long is cut, and the hash of the Service's name replaces the rest, so that
/// two long names stay different.
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
    fn short_names_are_kept() {
        assert_eq!(firewall_name("openbao"), "openbao-firewall");
        assert_eq!(vault_name("openbao"), "openbao-vault");
        let longest = "a".repeat(LONGEST - "-firewall".len());
        assert_eq!(firewall_name(&longest), format!("{longest}-firewall"));
    }

    #[test]
    fn longer_names_are_cut_and_stay_different() {
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
