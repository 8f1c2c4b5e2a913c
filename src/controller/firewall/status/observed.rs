//! Input of the status: the observed state of a policy and of its vault.

use crate::api::VaultNetworkPolicyStatus;
use crate::compile::kubernetes::protected_service::{ProtectedService, ProtectedServiceError};
use crate::index::{ServiceFact, VaultResolution};
use crate::policy::{Diagnostic, Violation};
use crate::xds;

/// Stored form of a policy.
#[derive(Clone, Copy, Debug)]
pub struct PolicySeen<'a> {
    /// Name of the policy, unique in its namespace.
    pub name: &'a str,
    /// The evaluated generation, `metadata.generation`.
    pub generation: i64,
    /// Stored status; none if it never had one.
    pub status: Option<&'a VaultNetworkPolicyStatus>,
    /// Violations of this generation; empty if it is valid.
    pub violations: &'a [Violation],
    /// Numbers of its rules; none if the object cannot be decoded.
    pub rules: Option<RuleCounts>,
}

/// Sides of the proxies on which connections are not encrypted.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainHttp {
    /// Whether connections between clients and proxies are plain HTTP.
    pub to_clients: bool,
    /// Whether connections between proxies and vault are plain HTTP.
    pub to_vault: bool,
}

/// Numbers of a policy's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleCounts {
    /// Number of entries of `spec.virtualNetworkRules`.
    pub virtual_networks: usize,
    /// Number of entries of `spec.ipRules`.
    pub ip: usize,
}

/// Observed state of the vault that a policy targets.
#[derive(Clone, Debug)]
pub struct VaultSeen<'a> {
    /// Resolution of its policies; none if no policy's target can be decoded, or the index does not have this policy
    /// yet.
    pub resolution: Option<&'a VaultResolution>,
    /// Whether proxies keep their previous rules, because this process has not accepted a policy of the vault yet.
    pub cold_start: bool,
    /// Whether its Service can be protected: see [`target_of`].
    pub target: Result<(), TargetProblem>,
    /// The port that was in force before and stays, if the Service does not have that of the policies.
    pub kept_port: Option<u16>,
    /// Whether its namespace is being deleted.
    pub terminating: bool,
    /// Error of the last write of a generated object, or of the compiler. None after all objects were written.
    pub apply_error: Option<&'a str>,
    /// Message of the Deployment's condition if its newest pods do not become ready.
    pub stalled: Option<&'a str>,
    /// Policies of pods that its Service selected earlier and may not select now.
    pub earlier: &'a [EarlierPolicy],
    /// Names of `NetworkPolicies` of others that open its pods past the firewall.
    pub openings: &'a [String],
    /// Sides on which its proxies use plain HTTP; none if that is unknown, and the warnings of the stored status stay.
    pub plain_http: Option<PlainHttp>,
    /// Status of its proxies, of all replicas of the operator together.
    pub proxies: &'a xds::Status,
    /// Number of proxies that the firewall's Service sends clients to; none for proxies that run next to the operator.
    pub ready: Option<usize>,
    /// Number of proxies that the Deployment is to have.
    pub wanted: usize,
    /// Version of the snapshot of `resolution`.
    pub version: Option<&'a str>,
    /// Address of the data endpoint, `NAME.NAMESPACE.svc:PORT`.
    pub endpoint: Option<String>,
    /// Address of the management endpoint, `NAME.NAMESPACE.svc:PORT`.
    pub management_endpoint: Option<String>,
}

/// A `NetworkPolicy` of pods that a vault's Service selected earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierPolicy {
    /// Name, in the vault's namespace.
    pub name: String,
    /// Labels of the pods, `key=value` with commas.
    pub selector: String,
}

/// Reason why a vault's Service cannot be protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetProblem {
    /// The Service does not exist.
    NotFound,
    /// The Service cannot be used.
    Unusable(ProtectedServiceError),
}

/// Returns the protected Service of a vault, with this port of the vault's API.
///
/// # Errors
/// The Service does not exist, or cannot be protected.
pub fn target_of(
    service: Option<&ServiceFact>,
    port: u16,
) -> Result<ProtectedService, TargetProblem> {
    let service = service.ok_or(TargetProblem::NotFound)?;
    ProtectedService::of(service, port).map_err(TargetProblem::Unusable)
}

/// Returns the diagnostics about one policy.
pub(super) fn of_policy<'a>(
    diagnostics: &'a [Diagnostic],
    policy: &'a str,
) -> impl Iterator<Item = &'a Diagnostic> {
    diagnostics
        .iter()
        .filter(move |diagnostic| diagnostic.policy == policy)
}
