//! All conditions that the operator writes, with all their reasons. `docs/status.md` explains each one; a test
//! compares.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::policy::DiagnosticReason;

/// Type of a policy's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Whether this generation is valid and within the vault's limits.
    Accepted,
    /// Whether all its references are resolved.
    ResolvedRefs,
    /// Whether the proxies enforce this generation.
    Programmed,
    /// Whether another policy overrides some of its settings.
    Conflicted,
    /// Whether all of this generation is in force: a summary of the first three for tools that wait for one condition.
    Ready,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// The operator cannot determine yet whether it holds.
    Unknown,
}

/// Reason of a condition, as its `reason` field has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "docs/status.md explains each one, and a test compares"
)]
pub enum Reason {
    Accepted,
    ApplyFailed,
    EarlierFormInForce,
    Invalid,
    LimitExceeded,
    NamespaceTerminating,
    NoConflicts,
    NoEndpoints,
    NoProxies,
    NoSelector,
    NotOptedIn,
    Pending,
    PortNotFound,
    Programmed,
    Ready,
    Rejected,
    ResolvedRefs,
    ServiceEndpointMissing,
    SettingsDiffer,
    SubnetNotFound,
    TargetNotFound,
    TrustedServiceNotFound,
    VirtualNetworkNotFound,
}

/// All combinations of type, status and reason. Type and reason determine the status.
pub const MEANINGS: &[(ConditionType, Verdict, Reason)] = &[
    (ConditionType::Accepted, Verdict::True, Reason::Accepted),
    (ConditionType::Accepted, Verdict::False, Reason::Invalid),
    (
        ConditionType::Accepted,
        Verdict::False,
        Reason::LimitExceeded,
    ),
    (ConditionType::Accepted, Verdict::Unknown, Reason::Pending),
    (
        ConditionType::ResolvedRefs,
        Verdict::True,
        Reason::ResolvedRefs,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::False,
        Reason::TargetNotFound,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::False,
        Reason::NoSelector,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::False,
        Reason::PortNotFound,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::False,
        Reason::VirtualNetworkNotFound,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::False,
        Reason::SubnetNotFound,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::False,
        Reason::ServiceEndpointMissing,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::False,
        Reason::NotOptedIn,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::False,
        Reason::TrustedServiceNotFound,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::Unknown,
        Reason::Invalid,
    ),
    (
        ConditionType::ResolvedRefs,
        Verdict::Unknown,
        Reason::Pending,
    ),
    (ConditionType::Programmed, Verdict::True, Reason::Programmed),
    (ConditionType::Programmed, Verdict::False, Reason::Pending),
    (ConditionType::Programmed, Verdict::False, Reason::Rejected),
    (
        ConditionType::Programmed,
        Verdict::False,
        Reason::ApplyFailed,
    ),
    (
        ConditionType::Programmed,
        Verdict::False,
        Reason::TargetNotFound,
    ),
    (
        ConditionType::Programmed,
        Verdict::False,
        Reason::NoSelector,
    ),
    (
        ConditionType::Programmed,
        Verdict::False,
        Reason::PortNotFound,
    ),
    (ConditionType::Programmed, Verdict::False, Reason::Invalid),
    (
        ConditionType::Programmed,
        Verdict::False,
        Reason::LimitExceeded,
    ),
    (
        ConditionType::Programmed,
        Verdict::False,
        Reason::EarlierFormInForce,
    ),
    (
        ConditionType::Programmed,
        Verdict::False,
        Reason::NamespaceTerminating,
    ),
    (
        ConditionType::Programmed,
        Verdict::False,
        Reason::NoEndpoints,
    ),
    (
        ConditionType::Programmed,
        Verdict::Unknown,
        Reason::NoProxies,
    ),
    (
        ConditionType::Conflicted,
        Verdict::True,
        Reason::SettingsDiffer,
    ),
    (
        ConditionType::Conflicted,
        Verdict::False,
        Reason::NoConflicts,
    ),
    (ConditionType::Conflicted, Verdict::Unknown, Reason::Invalid),
    (
        ConditionType::Conflicted,
        Verdict::Unknown,
        Reason::LimitExceeded,
    ),
    (ConditionType::Conflicted, Verdict::Unknown, Reason::Pending),
    (ConditionType::Ready, Verdict::True, Reason::Ready),
    (ConditionType::Ready, Verdict::False, Reason::Invalid),
    (ConditionType::Ready, Verdict::False, Reason::LimitExceeded),
    (ConditionType::Ready, Verdict::False, Reason::TargetNotFound),
    (ConditionType::Ready, Verdict::False, Reason::NoSelector),
    (ConditionType::Ready, Verdict::False, Reason::PortNotFound),
    (
        ConditionType::Ready,
        Verdict::False,
        Reason::VirtualNetworkNotFound,
    ),
    (ConditionType::Ready, Verdict::False, Reason::SubnetNotFound),
    (
        ConditionType::Ready,
        Verdict::False,
        Reason::ServiceEndpointMissing,
    ),
    (ConditionType::Ready, Verdict::False, Reason::NotOptedIn),
    (
        ConditionType::Ready,
        Verdict::False,
        Reason::TrustedServiceNotFound,
    ),
    (ConditionType::Ready, Verdict::False, Reason::Rejected),
    (ConditionType::Ready, Verdict::False, Reason::ApplyFailed),
    (
        ConditionType::Ready,
        Verdict::False,
        Reason::NamespaceTerminating,
    ),
    (ConditionType::Ready, Verdict::False, Reason::NoEndpoints),
    (ConditionType::Ready, Verdict::Unknown, Reason::NoProxies),
    (ConditionType::Ready, Verdict::Unknown, Reason::Pending),
];

impl ConditionType {
    /// All types, in the order of the status.
    pub const ALL: [Self; 5] = [
        Self::Accepted,
        Self::ResolvedRefs,
        Self::Programmed,
        Self::Conflicted,
        Self::Ready,
    ];

    /// Returns the name as the API has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
            Self::Conflicted => "Conflicted",
            Self::Ready => "Ready",
        }
    }

    /// Returns the status for a reason; `Unknown` for a reason that this condition never has.
    pub(crate) fn verdict(self, reason: Reason) -> Verdict {
        MEANINGS
            .iter()
            .find(|(kind, _, known)| *kind == self && *known == reason)
            .map_or(Verdict::Unknown, |(_, verdict, _)| *verdict)
    }
}

impl Verdict {
    /// Returns the name as the API has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Reason {
    /// Returns the name as the API has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ApplyFailed => "ApplyFailed",
            Self::EarlierFormInForce => "EarlierFormInForce",
            Self::Invalid => "Invalid",
            Self::LimitExceeded => "LimitExceeded",
            Self::NamespaceTerminating => "NamespaceTerminating",
            Self::NoConflicts => "NoConflicts",
            Self::NoEndpoints => "NoEndpoints",
            Self::NoProxies => "NoProxies",
            Self::NoSelector => "NoSelector",
            Self::NotOptedIn => "NotOptedIn",
            Self::Pending => "Pending",
            Self::PortNotFound => "PortNotFound",
            Self::Programmed => "Programmed",
            Self::Ready => "Ready",
            Self::Rejected => "Rejected",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::ServiceEndpointMissing => "ServiceEndpointMissing",
            Self::SettingsDiffer => "SettingsDiffer",
            Self::SubnetNotFound => "SubnetNotFound",
            Self::TargetNotFound => "TargetNotFound",
            Self::TrustedServiceNotFound => "TrustedServiceNotFound",
            Self::VirtualNetworkNotFound => "VirtualNetworkNotFound",
        }
    }

    /// Returns the reason for an unresolved rule; none for diagnostics that are not about references.
    pub(crate) fn of_unresolved(reason: DiagnosticReason) -> Option<Self> {
        match reason {
            DiagnosticReason::VirtualNetworkNotFound => Some(Self::VirtualNetworkNotFound),
            DiagnosticReason::SubnetNotFound => Some(Self::SubnetNotFound),
            DiagnosticReason::ServiceEndpointMissing => Some(Self::ServiceEndpointMissing),
            DiagnosticReason::NotOptedIn => Some(Self::NotOptedIn),
            DiagnosticReason::TrustedServiceNotFound => Some(Self::TrustedServiceNotFound),
            DiagnosticReason::SettingsDiffer
            | DiagnosticReason::AddressContested
            | DiagnosticReason::DefaultActionOverruled
            | DiagnosticReason::AuditMode
            | DiagnosticReason::TrustedRangeHoldsPods
            | DiagnosticReason::TooManyTrustedPods
            | DiagnosticReason::NoBypass
            | DiagnosticReason::NoIdentities
            | DiagnosticReason::NoSubscription
            | DiagnosticReason::KeysUnknown
            | DiagnosticReason::KeysDiffer
            | DiagnosticReason::AccountLabelMissing
            | DiagnosticReason::FederatedDropped => None,
        }
    }
}

/// Whether the operator writes this condition.
pub(super) fn is_own(condition: &Condition) -> bool {
    ConditionType::ALL
        .iter()
        .any(|kind| kind.name() == condition.type_)
}
