//! Fields and values of the schema that this version does not implement. Validation refuses them, and no message offers
//! them.

/// Fields, with `[]` for every entry of a list.
const FIELDS: [&str; 4] = [
    "spec.ipRules[].cloud",
    "spec.ipRules[].expiresAt",
    "spec.ipRules[].serviceTag",
    "spec.vault.location",
];
/// Values of fields.
const VALUES: [(&str, &str); 1] = [("spec.clientAddress.source", "ProxyProtocol")];

/// Whether a field of the schema is implemented, by its path such as `spec.ipRules[3].value`.
pub(crate) fn is_supported_field(path: &str) -> bool {
    !FIELDS.contains(&without_indices(path).as_str())
}

/// Whether a value of a field is implemented.
pub(crate) fn is_supported_value(path: &str, value: &str) -> bool {
    !VALUES.contains(&(without_indices(path).as_str(), value))
}

fn without_indices(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}
