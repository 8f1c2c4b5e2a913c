//! Every condition that the operator writes, and every reason that it can have. `docs/status.md` explains each; a test
//! holds the two against each other.

use crate::policy::DiagnosticReason;

/// The conditions of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Whether this generation counts: it is valid and within the vault's limits.
    Accepted,
    /// Whether everything that it refers to is there.
    ResolvedRefs,
    /// Whether the proxies enforce this generation.
    Programmed,
    /// Whether another policy decides some of its settings.
    Conflicted,
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody can know yet.
    Unknown,
}

/// Why a condition has its status. Written as it is named here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "docs/status.md explains each, and a test sees to it"
)]
pub enum Reason {
    Accepted,
    ApplyFailed,
    EarlierFormInForce,
    Invalid,
    LimitExceeded,
    NamespaceTerminating,
    NoConflicts,
    NoProxies,
    NoSelector,
    NotOptedIn,
    Pending,
    PortNotFound,
    Programmed,
    Rejected,
    ResolvedRefs,
    ServiceEndpointMissing,
    SettingsDiffer,
    SubnetNotFound,
    TargetNotFound,
    VirtualNetworkNotFound,
}

/// What there is: the type, the status, the reason. A status follows from type and reason.
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
];

impl ConditionType {
    /// Every type, in the order in which they are written.
    pub const ALL: [Self; 4] = [
        Self::Accepted,
        Self::ResolvedRefs,
        Self::Programmed,
        Self::Conflicted,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Programmed => "Programmed",
            Self::Conflicted => "Conflicted",
        }
    }

    /// The status that goes with a reason; `Unknown` for one that this condition never has.
    pub(crate) fn verdict(self, reason: Reason) -> Verdict {
        MEANINGS
            .iter()
            .find(|(kind, _, known)| *kind == self && *known == reason)
            .map_or(Verdict::Unknown, |(_, verdict, _)| *verdict)
    }
}

impl Verdict {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Reason {
    /// As it is written.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Why a rule opens nothing.
    pub(crate) fn of_unresolved(reason: DiagnosticReason) -> Option<Self> {
        match reason {
            DiagnosticReason::VirtualNetworkNotFound => Some(Self::VirtualNetworkNotFound),
            DiagnosticReason::SubnetNotFound => Some(Self::SubnetNotFound),
            DiagnosticReason::ServiceEndpointMissing => Some(Self::ServiceEndpointMissing),
            DiagnosticReason::NotOptedIn => Some(Self::NotOptedIn),
            DiagnosticReason::SettingsDiffer
            | DiagnosticReason::AddressContested
            | DiagnosticReason::DefaultActionOverruled => None,
        }
    }
}
