//! What validation finds: one [`Violation`] per broken rule, in the words that a person can act on.
//!
//! Shared by the pure rules and by the loader of files; it decides nothing itself.

use serde::Serialize;

use crate::address::{AddressFault, FaultReason};

/// Why a field is refused. Written in `CamelCase`, as reasons of Kubernetes conditions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ViolationReason {
    /// The range holds every address.
    AllAddresses,
    /// A request could be read in two ways.
    Ambiguous,
    /// The same thing is said twice.
    Duplicate,
    /// The address of a range has bits beyond its prefix.
    HostBitsSet,
    /// The value breaks a rule of its field.
    Invalid,
    /// A list is longer than the installation allows (R5).
    LimitExceeded,
    /// Not an IPv4 address or range in its one notation (R8).
    Malformed,
    /// A subnet's prefix that is neither private, shared nor loopback.
    NotPrivate,
    /// Addresses that are not publicly routable (R7).
    NotPublic,
    /// What a later version makes work.
    NotSupportedYet,
    /// IPv6 (R8).
    OnlyIpv4,
    /// A /31 or /32 in an IP rule (R6).
    PrefixTooLong,
    /// RFC 1918 addresses in an IP rule (R7).
    PrivateAddress,
    /// A field that must be given is missing.
    Required,
    /// A field that the object does not have.
    UnknownField,
    /// A kind or version that is not ours.
    UnknownKind,
    /// A value of another type than the field's.
    WrongType,
}

/// One broken rule of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Where: a field path such as `spec.ipRules[3].value`; empty for the object itself.
    pub field: String,
    /// Why, for programs.
    pub reason: ViolationReason,
    /// Why and what to do, for people.
    pub message: String,
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
        self.0.push(Violation {
            field: field.into(),
            reason,
            message: message.into(),
        });
    }

    /// What a later issue makes work is refused, never silently ignored.
    pub(crate) fn not_supported_yet(&mut self, field: impl Into<String>, what: &str) {
        self.add(
            field,
            ViolationReason::NotSupportedYet,
            format!("{what} is not supported yet; remove it"),
        );
    }

    /// Adds the faults of an address or range, each with the value that a user wrote.
    pub(crate) fn add_faults(&mut self, field: &str, value: &str, faults: Vec<AddressFault>) {
        for AddressFault { reason, message } in faults {
            self.add(field, reason.into(), format!("{} {message}", quoted(value)));
        }
    }

    /// `made` when nothing was found.
    pub(crate) fn or_else<T>(self, made: T) -> Result<T, Vec<Violation>> {
        if self.0.is_empty() {
            Ok(made)
        } else {
            Err(self.0)
        }
    }
}

/// A user's text in quotes, safe to print and of bounded length.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{}\"", shown.escape_debug())
}

/// The path of a map's entry or an object's field: `base.key`, or `base[key]` where the key could be misread.
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
