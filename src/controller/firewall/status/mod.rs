//! Desired status of a `VaultNetworkPolicy`, and the events of its changes.
//!
//! Pure: the input is the observed state, the output a status. No client and no clock; another module writes.
//!
//! | module | content |
//! |---|---|
//! | [`conditions`] | reasons and messages of the four conditions |
//! | [`difference`] | whether and when a changed status is written |
//! | [`events`] | events of transitions |
//! | [`reason`] | all conditions, statuses and reasons |
//! | [`text`] | messages of bounded length |

mod conditions;
mod difference;
mod events;
mod reason;
mod text;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use difference::{Difference, difference, differs, is_settled, urgency};
pub use events::{NOTE_LENGTH, events};
pub use reason::{ConditionType, MEANINGS, Reason, Verdict};

use crate::api::{PolicyWarning, VAULT_LABEL, VaultNetworkPolicyStatus};
use crate::compile::{ProtectedService, ProtectedServiceError};
use crate::index::{ServiceFact, VaultResolution};
use crate::policy::{Diagnostic, Violation};
use crate::runtime::status::conditions::with_transition_time;
use crate::xds;

/// Most warnings of one status; the last one has the number of omitted warnings.
const MOST_WARNINGS: usize = 32;
/// Reasons of warnings, as `docs/status.md` explains them.
pub const WARNINGS: [&str; 5] = [
    PROXIES_NOT_REPLACED,
    PLAIN_HTTP,
    DEFAULT_ACTION_OVERRULED,
    ADDRESS_CONTESTED,
    MORE_WARNINGS,
];
/// New proxies do not become ready, so the bootstrap settings are not in force everywhere.
const PROXIES_NOT_REPLACED: &str = "ProxiesNotReplaced";
/// Reason of the last warning of a full list.
const MORE_WARNINGS: &str = "MoreWarnings";
/// Connections without TLS are plain HTTP, which is always reported.
const PLAIN_HTTP: &str = "PlainHttp";
/// Several pods claim an address; the warning clears without an action.
const ADDRESS_CONTESTED: &str = "AddressContested";
/// Another policy has `defaultAction: Deny`.
const DEFAULT_ACTION_OVERRULED: &str = "DefaultActionOverruled";
/// Fields of the policy that enable TLS.
const TLS: &str = "spec.proxy.tls";
const UPSTREAM_TLS: &str = "spec.proxy.upstreamTls";
/// Longest field path in a warning, in characters.
const FIELD_LENGTH: usize = 253;
/// Longest text of a warning, in characters.
const WARNING_LENGTH: usize = 1024;

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
    /// Whether its namespace is being deleted.
    pub terminating: bool,
    /// Error of the last write of a generated object, or of the compiler. None after all objects were written.
    pub apply_error: Option<&'a str>,
    /// Message of the Deployment's condition if its newest pods do not become ready.
    pub stalled: Option<&'a str>,
    /// Sides on which its proxies use plain HTTP; none if that is unknown, and the warnings of the stored status stay.
    pub plain_http: Option<PlainHttp>,
    /// Status of its proxies, of all replicas of the operator together.
    pub proxies: &'a xds::Status,
    /// Version of the snapshot of `resolution`.
    pub version: Option<&'a str>,
    /// Address of the data endpoint, `NAME.NAMESPACE.svc:PORT`.
    pub endpoint: Option<String>,
    /// Address of the management endpoint, `NAME.NAMESPACE.svc:PORT`.
    pub management_endpoint: Option<String>,
}

/// Reason why a vault's Service cannot be protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetProblem {
    /// The Service does not exist.
    NotFound,
    /// The Service cannot be used.
    Unusable(ProtectedServiceError),
}

/// Checks that the Service of a vault, with this port of the vault's API, can be protected.
pub fn target_of(service: Option<&ServiceFact>, port: u16) -> Result<(), TargetProblem> {
    let service = service.ok_or(TargetProblem::NotFound)?;
    ProtectedService::of(service, port)
        .map(|_| ())
        .map_err(TargetProblem::Unusable)
}

/// Returns the desired status of a policy. Conditions of other writers are kept as they are stored.
pub fn status_of(
    policy: &PolicySeen<'_>,
    vault: &VaultSeen<'_>,
    now: Timestamp,
) -> VaultNetworkPolicyStatus {
    let stored = policy.status.map_or(&[][..], |status| &status.conditions);
    let evaluation = conditions::Evaluation { policy, vault };
    let mut conditions: Vec<Condition> = evaluation
        .all()
        .into_iter()
        .map(|entry| condition(entry, policy.generation, stored, now))
        .collect();
    conditions.extend(stored.iter().filter(|found| !is_ours(found)).cloned());
    let proxies = vault.proxies;
    VaultNetworkPolicyStatus {
        observed_generation: Some(policy.generation),
        conditions,
        endpoint: vault.endpoint.clone(),
        management_endpoint: vault.management_endpoint.clone(),
        proxies: Some(format!(
            "{}/{}",
            evaluation.programmed_count(),
            proxies.connected
        )),
        virtual_network_rules: policy.rules.map(|rules| number(rules.virtual_networks)),
        ip_rules: policy.rules.map(|rules| number(rules.ip)),
        addresses: vault.resolution.map(|seen| {
            let firewall = &seen.resolution.firewall;
            number(firewall.virtual_networks.len() + firewall.ip_rules.len())
        }),
        warnings: warnings(policy, vault),
    }
}

/// Returns the status with the operator's own conditions only. Server-side apply sends this part, so that the operator
/// never owns conditions of other writers.
pub fn own_part(status: &VaultNetworkPolicyStatus) -> VaultNetworkPolicyStatus {
    let mut own = status.clone();
    own.conditions.retain(is_ours);
    own
}

fn is_ours(condition: &Condition) -> bool {
    ConditionType::ALL
        .iter()
        .any(|kind| kind.name() == condition.type_)
}

/// Returns a condition in its stored form.
fn condition(
    entry: conditions::Entry,
    generation: i64,
    stored: &[Condition],
    now: Timestamp,
) -> Condition {
    let condition = Condition {
        type_: entry.kind.name().to_owned(),
        status: entry.kind.verdict(entry.reason).name().to_owned(),
        reason: entry.reason.name().to_owned(),
        message: entry.message,
        observed_generation: Some(generation),
        last_transition_time: Time(now),
    };
    with_transition_time(condition, stored, now)
}

/// Returns the warnings of the resolution, of plain HTTP and of proxies that are not replaced.
fn warnings(policy: &PolicySeen<'_>, vault: &VaultSeen<'_>) -> Vec<PolicyWarning> {
    let plain = |field: &str, message: &str| PolicyWarning {
        reason: PLAIN_HTTP.to_owned(),
        field: field.to_owned(),
        message: message.to_owned(),
    };
    let mut warnings = Vec::new();
    if let (Some(stalled), Some(seen)) = (vault.stalled, vault.resolution) {
        let id = &seen.resolution.firewall.vault;
        let consequence = if vault.proxies.connected == 0 {
            "and none is connected: the firewall may serve no client"
        } else {
            "so the last change of `spec.proxy` or of the operator is not in force everywhere; the old proxies \
             continue to run"
        };
        let message = format!(
            "new proxies do not become ready, {consequence}. Most often a Secret or an image is missing: check \
             `kubectl -n {} describe pods -l {VAULT_LABEL}={}`. The Deployment reports: {stalled}",
            id.namespace, id.service
        );
        warnings.push(PolicyWarning {
            reason: PROXIES_NOT_REPLACED.to_owned(),
            field: "spec.proxy".to_owned(),
            message: text::shortened(&message, WARNING_LENGTH),
        });
    }
    let plain_http = vault
        .plain_http
        .unwrap_or_else(|| stored_plain_http(policy));
    if plain_http.to_clients {
        warnings.push(plain(
            TLS,
            "the endpoints use plain HTTP, so tokens and secrets cross the network unencrypted; name a Secret with \
             their certificate",
        ));
    }
    if plain_http.to_vault {
        warnings.push(plain(
            UPSTREAM_TLS,
            "the proxies connect to the vault with plain HTTP, so tokens and secrets cross the network unencrypted; name \
             a Secret with the CA certificate of the vault",
        ));
    }
    let diagnostics = vault
        .resolution
        .map_or(&[][..], |seen| &seen.resolution.warnings);
    warnings.extend(
        of_policy(diagnostics, policy.name).map(|diagnostic| PolicyWarning {
            reason: reason::of_warning(diagnostic.reason).to_owned(),
            field: text::shortened(&diagnostic.field, FIELD_LENGTH),
            message: text::shortened(&diagnostic.message, WARNING_LENGTH),
        }),
    );
    if warnings.len() > MOST_WARNINGS {
        let more = warnings.len() - (MOST_WARNINGS - 1);
        warnings.truncate(MOST_WARNINGS - 1);
        warnings.push(PolicyWarning {
            reason: MORE_WARNINGS.to_owned(),
            field: String::new(),
            message: format!("{more} more warnings are not listed"),
        });
    }
    warnings
}

/// Returns the sides with plain HTTP according to the stored status.
fn stored_plain_http(policy: &PolicySeen<'_>) -> PlainHttp {
    let stored = policy.status.map_or(&[][..], |status| &status.warnings);
    let warns_of = |field: &str| {
        stored
            .iter()
            .any(|warning| warning.reason == PLAIN_HTTP && warning.field == field)
    };
    PlainHttp {
        to_clients: warns_of(TLS),
        to_vault: warns_of(UPSTREAM_TLS),
    }
}

fn of_policy<'a>(
    diagnostics: &'a [Diagnostic],
    policy: &'a str,
) -> impl Iterator<Item = &'a Diagnostic> {
    diagnostics
        .iter()
        .filter(move |diagnostic| diagnostic.policy == policy)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
