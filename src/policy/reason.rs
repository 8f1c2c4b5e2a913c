//! Reasons of decisions, and the verdict of each.

use serde::Serialize;

/// Result of a decision.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is forwarded to the vault.
    Allow,
    /// The request is refused.
    Deny,
}

impl Verdict {
    /// Text of the verdict in answers, equal to its serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// Reason of a decision. The verdict follows from it.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Allowed: the peer is in an enabled subnet.
    VirtualNetworkRule,
    /// Allowed: the client's address is in an IP rule.
    IpRule,
    /// Allowed: the caller is a trusted service, in one of its scenarios.
    TrustedService,
    /// Allowed: no rule matched and the default action is `Allow`.
    DefaultAction,
    /// Allowed: the network rules deny the request, and with `mode: Audit` that is only recorded.
    AuditMode,
    /// Allowed: a health probe.
    Infrastructure,
    /// Allowed: a management request on the management endpoint.
    ControlPlane,
    /// Allowed: a critical operation of a listed operator.
    Operator,
    /// Allowed: a write of a listed deployer on the management endpoint.
    Deployer,
    /// Denied: no rule allows the caller.
    ForbiddenByFirewall,
    /// Denied: no rule allows the caller, and the operation is in no scenario of the trusted service that it is.
    ForbiddenByScenario,
    /// Denied: no rule allows the caller, and it is a trusted service without the vault's token.
    ForbiddenByMissingToken,
    /// Denied: the listener does not serve the plane.
    ForbiddenByPlane,
    /// Denied: a critical operation.
    ForbiddenCritical,
    /// Denied: the request is ambiguous.
    BadRequest,
}

impl Reason {
    /// All reasons, those that allow first.
    pub const ALL: [Self; 15] = [
        Self::VirtualNetworkRule,
        Self::IpRule,
        Self::TrustedService,
        Self::DefaultAction,
        Self::AuditMode,
        Self::Infrastructure,
        Self::ControlPlane,
        Self::Operator,
        Self::Deployer,
        Self::ForbiddenByFirewall,
        Self::ForbiddenByScenario,
        Self::ForbiddenByMissingToken,
        Self::ForbiddenByPlane,
        Self::ForbiddenCritical,
        Self::BadRequest,
    ];

    /// Returns the verdict that follows from the reason.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::VirtualNetworkRule
            | Self::IpRule
            | Self::TrustedService
            | Self::DefaultAction
            | Self::AuditMode
            | Self::Infrastructure
            | Self::ControlPlane
            | Self::Operator
            | Self::Deployer => Verdict::Allow,
            Self::ForbiddenByFirewall
            | Self::ForbiddenByScenario
            | Self::ForbiddenByMissingToken
            | Self::ForbiddenByPlane
            | Self::ForbiddenCritical
            | Self::BadRequest => Verdict::Deny,
        }
    }

    /// Text of the reason in answers and logs, equal to its serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtualNetworkRule => "VirtualNetworkRule",
            Self::IpRule => "IpRule",
            Self::TrustedService => "TrustedService",
            Self::DefaultAction => "DefaultAction",
            Self::AuditMode => "AuditMode",
            Self::Infrastructure => "Infrastructure",
            Self::ControlPlane => "ControlPlane",
            Self::Operator => "Operator",
            Self::Deployer => "Deployer",
            Self::ForbiddenByFirewall => "ForbiddenByFirewall",
            Self::ForbiddenByScenario => "ForbiddenByScenario",
            Self::ForbiddenByMissingToken => "ForbiddenByMissingToken",
            Self::ForbiddenByPlane => "ForbiddenByPlane",
            Self::ForbiddenCritical => "ForbiddenCritical",
            Self::BadRequest => "BadRequest",
        }
    }

    /// Reason with this name; none of another version.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}
