//! What the operator writes into a `VaultNetworkPolicy`'s status, and which events it posts.
//!
//! Pure: what was seen goes in, a status comes out. No client, no clock; who writes, and when, is decided elsewhere.
//!
//! | module | what it is |
//! |---|---|
//! | [`conditions`] | what each of the four conditions says |
//! | [`difference`] | what of a status is worth a write, and when |
//! | [`events`] | a transition in an event's words |
//! | [`reason`] | every condition, status and reason that there is |
//! | [`text`] | lists in messages of bounded length |

mod conditions;
mod difference;
mod events;
mod reason;
mod text;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use difference::{Difference, Urgency, difference, differs, is_settled, urgency};
pub use events::{EventKind, EventNote, NOTE_LENGTH, events};
pub use reason::{ConditionType, MEANINGS, Reason, Verdict};

use crate::api::{PolicyWarning, VAULT_LABEL, VaultNetworkPolicyStatus};
use crate::compile::{ProtectedService, ProtectedServiceError};
use crate::index::{ServiceFact, VaultResolution};
use crate::policy::{Diagnostic, Violation};
use crate::xds;

/// Most warnings of one status; the last one says how many more there are.
const MOST_WARNINGS: usize = 32;
/// Reasons of warnings, as `docs/status.md` explains them.
pub const WARNINGS: [&str; 5] = [
    PROXIES_NOT_REPLACED,
    PLAIN_HTTP,
    DEFAULT_ACTION_OVERRULED,
    ADDRESS_CONTESTED,
    MORE_WARNINGS,
];
/// What proxies are started with is not in force everywhere.
const PROXIES_NOT_REPLACED: &str = "ProxiesNotReplaced";
/// Reason of the last warning of a full list.
const MORE_WARNINGS: &str = "MoreWarnings";
/// Without TLS the endpoints are plain HTTP, and never silently.
const PLAIN_HTTP: &str = "PlainHttp";
/// Passes by itself.
const ADDRESS_CONTESTED: &str = "AddressContested";
/// Another policy says `Deny`.
const DEFAULT_ACTION_OVERRULED: &str = "DefaultActionOverruled";
/// Fields of the policy that say where TLS is spoken.
const TLS: &str = "spec.proxy.tls";
const UPSTREAM_TLS: &str = "spec.proxy.upstreamTls";
/// Longest field path in a warning, in characters.
const FIELD_LENGTH: usize = 253;
/// Longest text of a warning, in characters.
const WARNING_LENGTH: usize = 1024;

/// A policy as it is stored now.
#[derive(Clone, Copy, Debug)]
pub struct PolicySeen<'a> {
    /// Its name.
    pub name: &'a str,
    /// The generation that was looked at.
    pub generation: i64,
    /// Its status as it is stored; none: it never had one.
    pub status: Option<&'a VaultNetworkPolicyStatus>,
    /// What this generation breaks by itself; empty: it is valid.
    pub violations: &'a [Violation],
    /// How many virtual-network rules and IP rules it has; none: it cannot be read.
    pub rules: Option<RuleCounts>,
}

/// On which sides of the proxies nothing is encrypted.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainHttp {
    /// Between clients and proxies.
    pub to_clients: bool,
    /// Between proxies and vault.
    pub to_vault: bool,
}

/// How many rules a policy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleCounts {
    /// Virtual-network rules.
    pub virtual_networks: usize,
    /// IP rules.
    pub ip: usize,
}

/// What is known of the vault that a policy counts for.
#[derive(Clone, Debug)]
pub struct VaultSeen<'a> {
    /// What its policies come to; none: no policy's target can be read, or the index does not know this one yet.
    pub resolution: Option<&'a VaultResolution>,
    /// Whether proxies that have rules from before keep them, because this process never accepted a policy of the vault.
    pub cold_start: bool,
    /// Whether its Service can be walled in: [`target_of`].
    pub target: Result<(), TargetProblem>,
    /// Whether its namespace is being deleted.
    pub terminating: bool,
    /// Why an object that belongs to its firewall is not as it should be: what the API server said to the last write,
    /// or the compiler. Gone as soon as all are written.
    pub apply_error: Option<&'a str>,
    /// Why the Deployment of its proxies does not get its newest pods to run, in Kubernetes' words.
    pub stalled: Option<&'a str>,
    /// Where its proxies speak plain HTTP; none: nobody knows, and what was found before stays.
    pub plain_http: Option<PlainHttp>,
    /// Its proxies, over all replicas of the operator.
    pub proxies: &'a xds::Status,
    /// Version of the snapshot that was made from `resolution`.
    pub version: Option<&'a str>,
    /// Where clients reach it now, `NAME.NAMESPACE.svc:PORT`.
    pub endpoint: Option<String>,
    /// Where operators reach its management.
    pub management_endpoint: Option<String>,
}

/// Why a vault's Service cannot be walled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetProblem {
    /// There is no such Service.
    NotFound,
    /// There is one that cannot be used.
    Unusable(ProtectedServiceError),
}

/// Whether the Service of a vault, and its port of the vault's API, can be walled in.
pub fn target_of(service: Option<&ServiceFact>, port: u16) -> Result<(), TargetProblem> {
    let service = service.ok_or(TargetProblem::NotFound)?;
    ProtectedService::of(service, port)
        .map(|_| ())
        .map_err(TargetProblem::Unusable)
}

/// What a policy's status has to be. Conditions of types that are not ours stay as they are stored.
pub fn status_of(
    policy: &PolicySeen<'_>,
    vault: &VaultSeen<'_>,
    now: Timestamp,
) -> VaultNetworkPolicyStatus {
    let stored = policy.status.map_or(&[][..], |status| &status.conditions);
    let finding = conditions::Finding { policy, vault };
    let mut conditions: Vec<Condition> = finding
        .all()
        .into_iter()
        .map(|said| condition(said, policy.generation, stored, now))
        .collect();
    conditions.extend(stored.iter().filter(|found| !is_ours(found)).cloned());
    let proxies = vault.proxies;
    VaultNetworkPolicyStatus {
        observed_generation: Some(policy.generation),
        conditions,
        endpoint: vault.endpoint.clone(),
        management_endpoint: vault.management_endpoint.clone(),
        proxies: Some(format!("{}/{}", finding.programmed(), proxies.connected)),
        virtual_network_rules: policy.rules.map(|rules| number(rules.virtual_networks)),
        ip_rules: policy.rules.map(|rules| number(rules.ip)),
        addresses: vault.resolution.map(|seen| {
            let firewall = &seen.resolution.firewall;
            number(firewall.virtual_networks.len() + firewall.ip_rules.len())
        }),
        warnings: warnings(policy, vault),
    }
}

/// The conditions that the operator writes, without those of others: what a server-side apply has to say, so that the
/// operator never comes to own what others wrote.
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

/// A condition as it is stored. Its time is that of the last change of its status, not of its reason or message.
fn condition(
    said: conditions::Said,
    generation: i64,
    stored: &[Condition],
    now: Timestamp,
) -> Condition {
    let kind = said.kind.name();
    let status = said.kind.verdict(said.reason).name();
    let kept = stored
        .iter()
        .find(|known| known.type_ == kind && known.status == status)
        .map(|known| known.last_transition_time.clone());
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: said.reason.name(),
        message: said.message,
        observed_generation: Some(generation),
        last_transition_time: kept.unwrap_or_else(|| Time(whole_seconds(now))),
    }
}

/// Kubernetes writes its times without fractions.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// What the resolution warns of, and plain HTTP.
fn warnings(policy: &PolicySeen<'_>, vault: &VaultSeen<'_>) -> Vec<PolicyWarning> {
    let plain = |field: &str, message: &str| PolicyWarning {
        reason: PLAIN_HTTP.to_owned(),
        field: field.to_owned(),
        message: message.to_owned(),
    };
    let mut warnings = Vec::new();
    if let (Some(words), Some(seen)) = (vault.stalled, vault.resolution) {
        let id = &seen.resolution.firewall.vault;
        let consequence = if vault.proxies.connected == 0 {
            "and none is connected: the firewall may serve nobody"
        } else {
            "so what was changed last in `spec.proxy`, or in the operator, is not in force everywhere; the proxies of \
             before go on"
        };
        let message = format!(
            "new proxies do not become ready, {consequence}. Most often a Secret or an image is missing: look at \
             `kubectl -n {} describe pods -l {VAULT_LABEL}={}`. The Deployment says: {words}",
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
        .unwrap_or_else(|| plain_http_before(policy));
    if plain_http.to_clients {
        warnings.push(plain(
            TLS,
            "the endpoints speak plain HTTP, so tokens and secrets cross the network in the clear; name a Secret with \
             their certificate",
        ));
    }
    if plain_http.to_vault {
        warnings.push(plain(
            UPSTREAM_TLS,
            "the proxies speak plain HTTP to the vault, so tokens and secrets cross the network in the clear; name a \
             Secret with the authority of the vault's certificate",
        ));
    }
    let diagnostics = vault
        .resolution
        .map_or(&[][..], |seen| &seen.resolution.warnings);
    warnings.extend(
        of_policy(diagnostics, policy.name).map(|diagnostic| PolicyWarning {
            reason: format!("{:?}", diagnostic.reason),
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

/// Where proxies spoke plain HTTP, as the stored status says.
fn plain_http_before(policy: &PolicySeen<'_>) -> PlainHttp {
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
