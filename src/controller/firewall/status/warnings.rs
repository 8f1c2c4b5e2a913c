//! Warnings of a status: problems for which nothing is rejected.

use super::observed::{EarlierPolicy, PlainHttp, PolicySeen, VaultSeen, of_policy};
use crate::api::{PolicyWarning, VAULT_LABEL};
use crate::policy::VaultId;
use crate::runtime::status::text;

/// Most warnings of one status; the last one has the number of omitted warnings.
pub(super) const MOST_WARNINGS: usize = 32;
/// Reasons of warnings, as `docs/status.md` explains them.
pub const WARNINGS: [&str; 17] = [
    OPENED_BY_NETWORK_POLICY,
    EARLIER_PODS,
    PROXIES_NOT_REPLACED,
    PLAIN_HTTP,
    AUDIT_MODE,
    DEFAULT_ACTION_OVERRULED,
    ADDRESS_CONTESTED,
    TRUSTED_RANGE_HOLDS_PODS,
    TOO_MANY_TRUSTED_PODS,
    NO_BYPASS,
    NO_IDENTITIES,
    NO_SUBSCRIPTION,
    ACCOUNT_LABEL_MISSING,
    FEDERATED_DROPPED,
    KEYS_UNKNOWN,
    KEYS_DIFFER,
    MORE_WARNINGS,
];
/// Another `NetworkPolicy` admits clients to the vault's pods.
const OPENED_BY_NETWORK_POLICY: &str = "OpenedByNetworkPolicy";
/// The Service selects other pods than before; the earlier ones stay isolated.
const EARLIER_PODS: &str = "EarlierPods";
/// New proxies do not become ready, so the bootstrap settings are not in force everywhere.
const PROXIES_NOT_REPLACED: &str = "ProxiesNotReplaced";
/// Reason of the last warning of a full list.
pub(super) const MORE_WARNINGS: &str = "MoreWarnings";
/// Connections without TLS are plain HTTP, which is always reported.
pub(super) const PLAIN_HTTP: &str = "PlainHttp";
/// Several pods claim an address; the warning clears without an action.
pub(super) const ADDRESS_CONTESTED: &str = "AddressContested";
/// Nothing is blocked, because every policy of the vault has `mode: Audit`.
pub(super) const AUDIT_MODE: &str = "AuditMode";
/// Another policy has `defaultAction: Deny`.
pub(super) const DEFAULT_ACTION_OVERRULED: &str = "DefaultActionOverruled";
/// Settings for a bypass, and none.
const NO_BYPASS: &str = "NoBypass";
/// A listed trusted service lets nobody in.
const NO_IDENTITIES: &str = "NoIdentities";
/// Registered resources of a listed trusted service, and no subscription.
const NO_SUBSCRIPTION: &str = "NoSubscription";
/// With `denial: Drop`, no `NetworkPolicy` selects the pods of trusted services.
const ACCOUNT_LABEL_MISSING: &str = "AccountLabelMissing";
/// With `denial: Drop`, federated credentials let nobody in.
const FEDERATED_DROPPED: &str = "FederatedDropped";
/// No keys of a token issuer.
const KEYS_UNKNOWN: &str = "KeysUnknown";
/// Several sources of the keys of a token issuer.
const KEYS_DIFFER: &str = "KeysDiffer";
/// The trusted proxies, or the identities, have more pods than a firewall can have.
pub(super) const TOO_MANY_TRUSTED_PODS: &str = "TooManyTrustedPods";
/// A range of trusted proxies contains addresses of pods of the policy's namespace.
pub(super) const TRUSTED_RANGE_HOLDS_PODS: &str = "TrustedRangeHoldsPods";
/// Fields of the policy that enable TLS.
const TLS: &str = "spec.proxy.tls";
const UPSTREAM_TLS: &str = "spec.proxy.upstreamTls";
/// Longest field path in a warning, in characters.
pub(super) const FIELD_LENGTH: usize = 253;
/// Longest text of a warning, in characters.
pub(super) const WARNING_LENGTH: usize = 1024;

/// Returns the warnings of the resolution, of plain HTTP and of proxies that are not replaced.
pub(super) fn warnings(policy: &PolicySeen<'_>, vault: &VaultSeen<'_>) -> Vec<PolicyWarning> {
    let plain = |field: &str, message: &str| PolicyWarning {
        reason: PLAIN_HTTP.to_owned(),
        field: field.to_owned(),
        message: message.to_owned(),
    };
    let mut warnings = Vec::new();
    warnings.extend(each_of(vault, vault.earlier, earlier_pods));
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
            "the proxies connect to the vault with plain HTTP, so tokens and secrets cross the network unencrypted; \
             name a Secret with the CA certificate of the vault",
        ));
    }
    let diagnostics = vault
        .resolution
        .map_or(&[][..], |seen| &seen.resolution.warnings);
    warnings.extend(
        of_policy(diagnostics, policy.name).map(|diagnostic| PolicyWarning {
            reason: diagnostic.reason.name().to_owned(),
            field: text::shortened(&diagnostic.field, FIELD_LENGTH),
            message: text::shortened(&diagnostic.message, WARNING_LENGTH),
        }),
    );
    // The last ones, because there may be any number.
    warnings.extend(each_of(vault, vault.openings, opening));
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

/// Returns a warning for each of these items of a vault; none while the vault is not resolved.
fn each_of<'a, T>(
    vault: &'a VaultSeen<'_>,
    items: &'a [T],
    warning: impl Fn(&VaultId, &T) -> PolicyWarning + 'a,
) -> impl Iterator<Item = PolicyWarning> + 'a {
    let id = vault.resolution.map(|seen| &seen.resolution.firewall.vault);
    let items = id
        .into_iter()
        .flat_map(move |id| items.iter().map(move |item| (id, item)));
    items.map(move |(id, item)| warning(id, item))
}

/// Returns the warning about a `NetworkPolicy` of others that opens the vault's pods.
fn opening(id: &VaultId, name: &String) -> PolicyWarning {
    let namespace = &id.namespace;
    let message = format!(
        "the NetworkPolicy `{name}` admits clients to the vault's pods past the firewall, because NetworkPolicies are \
         additive: no rule applies to them, and the access log does not have them. Unless that is intended, restrict \
         it to other ports than that of the vault's API, or run `kubectl -n {namespace} delete networkpolicy {name}`"
    );
    PolicyWarning {
        reason: OPENED_BY_NETWORK_POLICY.to_owned(),
        field: text::shortened(&format!("NetworkPolicy/{name}"), FIELD_LENGTH),
        message: text::shortened(&message, WARNING_LENGTH),
    }
}

/// Returns the warning about a policy of earlier pods.
fn earlier_pods(id: &VaultId, policy: &EarlierPolicy) -> PolicyWarning {
    let message = format!(
        "the Service {id} selected the pods with {} before, and may not select them now. They stay isolated, and \
         clients cannot reach them directly. If the Service's selector was changed by mistake, correct it; if these \
         pods are not the vault's any more, run `kubectl -n {} delete networkpolicy {}`",
        policy.selector, id.namespace, policy.name
    );
    PolicyWarning {
        reason: EARLIER_PODS.to_owned(),
        field: "spec.targetRef".to_owned(),
        message: text::shortened(&message, WARNING_LENGTH),
    }
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
