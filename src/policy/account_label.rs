//! Label with which pods name their service account, so that a `NetworkPolicy` can select them for `denial: Drop`
//! ([decision 37](../../docs/decisions/0037-service-account-label.md)). Pure.

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::api::{ACCOUNT_LABEL_NAME_LENGTH, LABEL_VALUE_LENGTH, SERVICE_ACCOUNT_LABEL_POLICY};

/// Bytes of the hash of a long name; 16 digits.
const HASHED_BYTES: usize = 8;

/// Whether pods have the label, and nobody else than the operator can set another value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountLabels {
    /// A `NetworkPolicy` may select it. The default, because files are read as the cluster's desired state.
    #[default]
    InForce,
    /// No `NetworkPolicy` may select it.
    NotInForce(NoAccountLabels),
    /// There are no `NetworkPolicies`, so nothing is dropped: standalone mode.
    NotNeeded,
}

/// Reason why no `NetworkPolicy` may select the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoAccountLabels {
    /// The installation does not use it.
    #[error(
        "this installation sets no label of service accounts; ask the cluster's admin for the chart's value \
         serviceAccountLabel.create"
    )]
    Off,
    /// The operator does not know yet whether the admission policy is in force.
    #[error(
        "it is not known yet whether the admission policy {SERVICE_ACCOUNT_LABEL_POLICY} is in force; if this \
         stays, see the operator's log"
    )]
    Unknown,
    /// The API server accepted another value of the label.
    #[error(
        "the admission policy {SERVICE_ACCOUNT_LABEL_POLICY} is not in force, so that any pod could have the \
         label; ask the cluster's admin to install it: the chart's value serviceAccountLabel.create"
    )]
    Unguarded,
    /// Some pods have the label of another service account; the operator is correcting them.
    #[error(
        "pods have the label of another service account from the time before the admission policy; the operator \
         corrects them, and its log names them"
    )]
    Uncorrected,
}

/// Value of the label on pods of a service account: its name, or, for a name that is longer than a label's value, the
/// beginning of the name, `_`, and 16 digits of its hash. No name of a service account contains `_`.
pub fn account_label_value(name: &str) -> String {
    if name.len() <= LABEL_VALUE_LENGTH {
        return name.to_owned();
    }
    let start = name.get(..ACCOUNT_LABEL_NAME_LENGTH).unwrap_or_default();
    let hash: String = Sha256::digest(name)
        .iter()
        .take(HASHED_BYTES)
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    format!("{start}_{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_valid_label_and_differs_for_each_name() {
        let long = |end: &str| format!("{}{end}", "a.".repeat(100));
        for name in [
            "a",
            &"b".repeat(63),
            &"c".repeat(64),
            &long("x"),
            &long("y"),
        ] {
            let value = account_label_value(name);
            assert!(value.len() <= LABEL_VALUE_LENGTH, "{value}");
            assert_eq!(value == *name, name.len() <= LABEL_VALUE_LENGTH, "{name}");
            assert!(
                value.ends_with(|end: char| end.is_ascii_alphanumeric()),
                "{value}"
            );
        }
        assert_ne!(
            account_label_value(&long("x")),
            account_label_value(&long("y"))
        );
    }
}
