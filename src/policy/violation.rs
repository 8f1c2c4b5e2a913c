//! Results of validation: one [`Violation`] for each broken rule, with a message that contains the remedy.
//!
//! Validation and the reader of files use these types. They contain no rule.

use std::fmt;

use serde::Serialize;

use crate::address::{AddressFault, FaultReason};

/// Reason to refuse a field. Its text is in `CamelCase`, like the reasons of Kubernetes conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ViolationReason {
    /// The range contains every address.
    AllAddresses,
    /// Two programs could read it differently: a request (the vault and the firewall), or a file (kubectl and this
    /// program).
    Ambiguous,
    /// A list has the same entry twice.
    Duplicate,
    /// The address of a range has bits set after its prefix.
    HostBitsSet,
    /// The value breaks a rule of its field.
    Invalid,
    /// A list is longer than the installation allows.
    LimitExceeded,
    /// Not an IPv4 address or range in decimal notation.
    Malformed,
    /// A setting that this installation does not allow.
    NotAllowed,
    /// A subnet's prefix that is neither private, shared nor loopback.
    NotPrivate,
    /// Addresses that are not publicly routable.
    NotPublic,
    /// A field or value that the schema has but this version does not implement.
    NotSupportedYet,
    /// An IPv6 address or range.
    OnlyIpv4,
    /// A /31 or /32 in an IP rule.
    PrefixTooLong,
    /// RFC 1918 addresses in an IP rule.
    PrivateAddress,
    /// A required field is missing.
    Required,
    /// A field that the object does not have.
    UnknownField,
    /// A kind or version that is not one of Vaultwall's.
    UnknownKind,
    /// A value of a wrong type.
    WrongType,
}

impl ViolationReason {
    /// Text of the reason in answers, logs and status, equal to its serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllAddresses => "AllAddresses",
            Self::Ambiguous => "Ambiguous",
            Self::Duplicate => "Duplicate",
            Self::HostBitsSet => "HostBitsSet",
            Self::Invalid => "Invalid",
            Self::LimitExceeded => "LimitExceeded",
            Self::Malformed => "Malformed",
            Self::NotAllowed => "NotAllowed",
            Self::NotPrivate => "NotPrivate",
            Self::NotPublic => "NotPublic",
            Self::NotSupportedYet => "NotSupportedYet",
            Self::OnlyIpv4 => "OnlyIpv4",
            Self::PrefixTooLong => "PrefixTooLong",
            Self::PrivateAddress => "PrivateAddress",
            Self::Required => "Required",
            Self::UnknownField => "UnknownField",
            Self::UnknownKind => "UnknownKind",
            Self::WrongType => "WrongType",
        }
    }
}

impl fmt::Display for ViolationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One broken rule of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Field path such as `spec.ipRules[3].value`; empty for the object itself.
    pub field: String,
    /// Class of the violation, for programs.
    pub reason: ViolationReason,
    /// Cause and correction, for people.
    pub message: String,
}

impl Violation {
    /// A violation of the field at this path.
    pub fn new(
        field: impl Into<String>,
        reason: ViolationReason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            reason,
            message: message.into(),
        }
    }
}

impl From<FaultReason> for ViolationReason {
    fn from(reason: FaultReason) -> Self {
        match reason {
            FaultReason::AllAddresses => Self::AllAddresses,
            FaultReason::HostBitsSet => Self::HostBitsSet,
            FaultReason::Invalid => Self::Invalid,
            FaultReason::Malformed => Self::Malformed,
            FaultReason::NotPrivate => Self::NotPrivate,
            FaultReason::NotPublic => Self::NotPublic,
            FaultReason::OnlyIpv4 => Self::OnlyIpv4,
            FaultReason::PrefixTooLong => Self::PrefixTooLong,
            FaultReason::PrivateAddress => Self::PrivateAddress,
        }
    }
}

/// Collects violations; validation never stops at the first.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Violation>);

impl Findings {
    pub(crate) fn add(
        &mut self,
        field: impl Into<String>,
        reason: ViolationReason,
        message: impl Into<String>,
    ) {
        self.0.push(Violation::new(field, reason, message));
    }

    /// Refuses a field that this version does not implement: it must not be silently ignored.
    pub(crate) fn not_supported_yet(&mut self, field: impl Into<String>, feature: &str) {
        self.add(
            field,
            ViolationReason::NotSupportedYet,
            format!("{feature} is not supported yet; remove it"),
        );
    }

    /// Adds the faults of an address or range, each with the value that a user wrote.
    pub(crate) fn add_faults(&mut self, field: &str, value: &str, faults: Vec<AddressFault>) {
        for AddressFault { reason, message } in faults {
            self.add(field, reason.into(), format!("{} {message}", quoted(value)));
        }
    }

    /// Returns `valid` if there are no violations.
    pub(crate) fn or_else<T>(self, valid: T) -> Result<T, Vec<Violation>> {
        if self.0.is_empty() {
            Ok(valid)
        } else {
            Err(self.0)
        }
    }
}

/// Returns a user's text in quotes, escaped, so that it is safe to print, and cut after 64 characters.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{}\"", shown.escape_debug())
}

/// Path of a map's entry or an object's field: `base.key`, or `base[key]` if the key has other characters than letters,
/// digits, `_` and `-`.
pub(crate) fn field_of(base: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (plain, base.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{base}.{key}"),
        (false, _) => format!("{base}[{}]", key.escape_debug()),
    }
}
