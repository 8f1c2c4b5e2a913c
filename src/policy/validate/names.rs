//! Validation of names: DNS names of Kubernetes objects (RFC 1123), and the names of rules, which appear in logs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::policy::violation::{Findings, ViolationReason, quoted};

/// Longest DNS label and longest name of a rule, in characters.
const LABEL_MAX: usize = 63;
/// Longest DNS subdomain, in characters.
const SUBDOMAIN_MAX: usize = 253;

/// Whether `text` is a DNS label, as Kubernetes requires it of namespaces and Services: lower-case letters, digits and
/// `-`, with a letter or digit at both ends. The identities in certificates depend on it too.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty()
        && text.len() <= LABEL_MAX
        && text.bytes().all(|b| plain(b) || b == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().next_back().is_some_and(plain)
}

/// Whether `text` consists of DNS labels, separated by dots.
pub(super) fn is_subdomain(text: &str) -> bool {
    // Kubernetes limits the length of the whole name, not of each label.
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= SUBDOMAIN_MAX
        && text.split('.').all(|part| {
            part.bytes().all(|b| plain(b) || b == b'-')
                && part.bytes().next().is_some_and(plain)
                && part.bytes().next_back().is_some_and(plain)
        })
}

/// Whether `text` is the last part of a qualified name, or the value of a label: letters, digits, `-`, `_` and `.`,
/// with a letter or digit at both ends.
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
    if !is_dns_label(text) {
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
                "{} cannot be the name of a rule; write at most {LABEL_MAX} letters, digits, -, _ and ., beginning \
                 and ending with a letter or digit",
                quoted(text)
            ),
        );
    }
}

/// Returns the name of the object. If there is none, it adds a violation and returns an empty text.
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
