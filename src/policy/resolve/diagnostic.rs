//! Diagnostics for the owner of a policy: problems for which the policy is not refused.

use std::fmt;

/// Reason of a diagnostic. Its text is in `CamelCase`, like the reasons of Kubernetes conditions. Of the reasons in
/// [`Resolution::unresolved`](super::Resolution::unresolved), the most severe is the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiagnosticReason {
    /// A rule refers to a `VirtualNetwork` that does not exist, or that was never valid.
    VirtualNetworkNotFound,
    /// A rule refers to a subnet that its `VirtualNetwork` does not have.
    SubnetNotFound,
    /// The owner of a subnet has not enabled the vault's service endpoint.
    ServiceEndpointMissing,
    /// No namespace that an inline rule selects has opted in, or it selects none.
    NotOptedIn,
    /// A policy names a `TrustedService` that does not exist, or that was never valid.
    TrustedServiceNotFound,
    /// A setting differs from the oldest policy's, which applies.
    SettingsDiffer,
    /// Several pods have the same address, and a rule or an entry of the trusted proxies selects only some of them.
    AddressContested,
    /// `Allow` does not apply, because another policy requires `Deny`.
    DefaultActionOverruled,
    /// Nothing is blocked: every policy of the vault has `Audit`.
    AuditMode,
    /// A range of trusted proxies contains addresses of pods.
    TrustedRangeHoldsPods,
    /// The trusted proxies, or the identities, have more pods than a firewall can have, so none of these is trusted.
    TooManyTrustedPods,
    /// `spec.trustedServices` has settings for a bypass, and there is none.
    NoBypass,
    /// A listed trusted service has no identities.
    NoIdentities,
    /// A listed trusted service has registered resources, and the vault's namespace has no subscription.
    NoSubscription,
    /// The keys of a token issuer are not known, or were not confirmed for too long.
    KeysUnknown,
    /// Identities name several sources of the keys of a token issuer.
    KeysDiffer,
    /// With `denial: Drop` a `NetworkPolicy` cannot select the pods of trusted services, so their packets are dropped.
    AccountLabelMissing,
    /// With `denial: Drop` a federated credential lets nobody in, because a `NetworkPolicy` cannot select its holder.
    FederatedDropped,
}

impl DiagnosticReason {
    /// Text of the reason in status and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtualNetworkNotFound => "VirtualNetworkNotFound",
            Self::SubnetNotFound => "SubnetNotFound",
            Self::ServiceEndpointMissing => "ServiceEndpointMissing",
            Self::NotOptedIn => "NotOptedIn",
            Self::TrustedServiceNotFound => "TrustedServiceNotFound",
            Self::SettingsDiffer => "SettingsDiffer",
            Self::AddressContested => "AddressContested",
            Self::DefaultActionOverruled => "DefaultActionOverruled",
            Self::AuditMode => "AuditMode",
            Self::TrustedRangeHoldsPods => "TrustedRangeHoldsPods",
            Self::TooManyTrustedPods => "TooManyTrustedPods",
            Self::NoBypass => "NoBypass",
            Self::NoIdentities => "NoIdentities",
            Self::NoSubscription => "NoSubscription",
            Self::KeysUnknown => "KeysUnknown",
            Self::KeysDiffer => "KeysDiffer",
            Self::AccountLabelMissing => "AccountLabelMissing",
            Self::FederatedDropped => "FederatedDropped",
        }
    }
}

impl fmt::Display for DiagnosticReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A message to the owner of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Name of the policy; its namespace is the vault's.
    pub policy: String,
    /// Class of the diagnostic, for programs.
    pub reason: DiagnosticReason,
    /// Field path in the policy, such as `spec.virtualNetworkRules[0].subnet`.
    pub field: String,
    /// Cause and correction, for people. It names no namespace and no pod of others, because the policy's owner may not
    /// be allowed to see them.
    pub message: String,
    /// Names of others' namespaces and pods; empty if there are none. It must not be written to a status.
    pub detail: String,
}

/// Policy, field, message and detail, for readers who may see the objects of others.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.policy, self.field, self.message)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}
