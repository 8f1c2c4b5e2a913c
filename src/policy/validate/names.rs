//! Names of objects and rules: Kubernetes' DNS names (RFC 1123), and the names of rules that appear in logs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::policy::ViolationReason;
use crate::policy::violation::{Findings, quoted};

/// Longest DNS label, and longest name of a rule.
const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
const SUBDOMAIN_MAX: usize = 253;

/// Whether `text` is a DNS label: lower-case letters, digits and `-`, a letter or digit at both ends.
pub(super) fn is_label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty()
        && text.len() <= LABEL_MAX
        && text.bytes().all(|b| plain(b) || b == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().next_back().is_some_and(plain)
}

/// Whether `text` is DNS labels with dots between them.
pub(super) fn is_subdomain(text: &str) -> bool {
    // Kubernetes bounds the whole name, not each of its labels.
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= SUBDOMAIN_MAX
        && text.split('.').all(|part| {
            part.bytes().all(|b| plain(b) || b == b'-')
                && part.bytes().next().is_some_and(plain)
                && part.bytes().next_back().is_some_and(plain)
        })
}

/// Whether `text` is a qualified name's last part or a label's value: letters, digits, `-`, `_` and `.`, a letter or
/// digit at both ends.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LABEL_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && text
            .bytes()
            .next_back()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

/// Checks a name that must be a DNS label.
pub(super) fn label(field: &str, text: &str, findings: &mut Findings) {
    if !is_label(text) {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!(
                "{} is not a DNS label; write at most {LABEL_MAX} lower-case letters, digits and -, beginning and \
                 ending with a letter or digit",
                quoted(text)
            ),
        );
    }
}

/// Checks a name that must be a DNS subdomain.
pub(super) fn subdomain(field: &str, text: &str, findings: &mut Findings) {
    if !is_subdomain(text) {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!(
                "{} is not a DNS name; write at most {SUBDOMAIN_MAX} lower-case letters, digits, - and ., beginning \
                 and ending with a letter or digit",
                quoted(text)
            ),
        );
    }
}

/// Checks the name of a rule.
pub(super) fn rule(field: &str, text: &str, findings: &mut Findings) {
    if !is_word(text) {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!(
                "{} cannot name a rule; write at most {LABEL_MAX} letters, digits, -, _ and ., beginning and ending \
                 with a letter or digit",
                quoted(text)
            ),
        );
    }
}

/// The object's name; empty, and a violation, when there is none.
pub(super) fn object_name(metadata: &ObjectMeta, findings: &mut Findings) -> String {
    const FIELD: &str = "metadata.name";
    let name = metadata.name.clone().unwrap_or_default();
    if name.is_empty() {
        findings.add(
            FIELD,
            ViolationReason::Required,
            "is missing; give the object a name",
        );
    } else {
        subdomain(FIELD, &name, findings);
    }
    name
}
