//! The filters of identities: one that finds the service account of the peer's pod, and one that finds the trusted
//! service and the scenario of a request.
//!
//! Between the two, the filter that sets the client's address copies the identities into the filter state: a matcher
//! can look up a text of the filter state in a map, and a text of the metadata only in a list. Every identity is
//! written as itself, never as a number. The filters arrive one by one, and a number of an earlier version would stand
//! for somebody else.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::extensions::filters::common::set_filter_state::v3::FilterStateValue;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use ipnet::Ipv4Net;

use super::matching::{any_of, contains, exactly, is};
use super::names::OPERATIONS;
use super::rbac;
use super::routes::filter_state;
use super::text_map::{OnMatch, ShadowRbac, first_of, look_up};
use super::token;
use crate::policy::{
    Firewall, Grants, Holders, Identity, Listener, PlaneRule, Scope, Verdict, is_deployment,
    plane_rule,
};
use crate::vault_api::{Operations, Plane};

/// Name of the ECDS resource that finds the pod's service account.
pub(super) const PODS: &str = "vaultwall.pods";
/// Name of the ECDS resource that finds the trusted service and its scenario.
pub(super) const SERVICES: &str = "vaultwall.trusted-services";
/// Prefix of the keys of [`PODS`] in the metadata.
const PODS_PREFIX: &str = "pods_";
/// Prefix of the keys of [`SERVICES`] in the metadata.
const SERVICES_PREFIX: &str = "services_";

/// How an identity is proven, in the order in which proofs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Pod,
    Token,
    PodAndToken,
}

impl Proof {
    const ALL: [Self; 3] = [Self::Pod, Self::Token, Self::PodAndToken];

    fn of(identity: &Identity) -> Self {
        match identity {
            Identity::Pod(_) => Self::Pod,
            Identity::Token(_) => Self::Token,
            Identity::PodAndToken(_) => Self::PodAndToken,
        }
    }

    /// Filter state with the proven identity; missing if there is none.
    fn state(self) -> &'static str {
        match self {
            Self::Pod => "vaultwall.pod",
            Self::Token => "vaultwall.token",
            Self::PodAndToken => "vaultwall.pod-and-token",
        }
    }

    /// Format of the identity.
    fn format(self) -> String {
        match self {
            Self::Pod => format!("%DYNAMIC_METADATA({}:{})%", rbac::METADATA, account_key()),
            Self::Token => token::metadata(token::IDENTIFIED),
            Self::PodAndToken => token::metadata(token::POD),
        }
    }

    /// Holds if there is any identity: all of them contain the text, and a missing one's `-` does not.
    fn is_given(self) -> Predicate {
        let mark = match self {
            Self::Pod | Self::PodAndToken => "/",
            Self::Token => "\t",
        };
        is(rbac::given_state(self.state()), contains(mark))
    }
}

/// Metadata key of the pod's service account, `NAMESPACE/NAME`.
pub(super) fn account_key() -> String {
    format!("{PODS_PREFIX}shadow_effective_policy_id")
}

/// Metadata key of the scenario that has a request's operations, or else of the caller's service.
pub(super) fn service_key() -> String {
    format!("{SERVICES_PREFIX}shadow_effective_policy_id")
}

/// Metadata key of the result: `allowed` in a scenario, `denied` otherwise.
pub(super) fn service_result_key() -> String {
    format!("{SERVICES_PREFIX}shadow_engine_result")
}

/// Whether a rule of a listener depends on identities.
pub(super) fn needs_identities(firewall: &Firewall, listener: Listener) -> bool {
    Plane::ALL
        .iter()
        .any(|plane| match plane_rule(listener, firewall, *plane) {
            PlaneRule::Always(_) => false,
            PlaneRule::NetworkRules => has_bypass(firewall),
            PlaneRule::Operators | PlaneRule::OperatorsInNetworks | PlaneRule::Deployers => true,
        })
}

/// Whether a policy enables the bypass, so that network rules need it.
pub(super) fn has_bypass(firewall: &Firewall) -> bool {
    firewall.grants.services.is_some()
}

/// The filter that finds the service account of the peer's pod.
pub(super) fn pods(firewall: &Firewall) -> Rbac {
    let mut by_account: BTreeMap<String, Vec<Ipv4Net>> = BTreeMap::new();
    for (address, account) in &firewall.grants.pods {
        let addresses = by_account.entry(account.to_string()).or_default();
        addresses.push(Ipv4Net::from(*address));
    }
    rbac::by_address(PODS_PREFIX, by_account, Vec::new(), rbac::direct_peer())
}

/// Filter states with the proven identities.
pub(super) fn states(firewall: &Firewall) -> impl Iterator<Item = FilterStateValue> {
    let has_tokens = firewall.tokens.is_some();
    let proofs = Proof::ALL.into_iter();
    let proofs = proofs.filter(move |proof| *proof == Proof::Pod || has_tokens);
    proofs.map(|proof| FilterStateValue {
        skip_if_empty: true,
        ..filter_state(proof.state(), &proof.format())
    })
}

/// The filter that finds the trusted service and the scenario.
pub(super) fn services(firewall: &Firewall) -> ShadowRbac {
    let grants = &firewall.grants;
    let operations = operations(firewall);
    let holders: BTreeSet<&Identity> = grants.services().flat_map(|grant| &grant.holders).collect();
    // Envoy refuses an empty map.
    let of = |proof: Proof, on_match: &dyn Fn(&Identity) -> Option<OnMatch>| {
        let of_proof = holders.iter().filter(|one| Proof::of(one) == proof);
        let map = of_proof.filter_map(|one| Some((one.to_string(), on_match(one)?)));
        let map: BTreeMap<String, OnMatch> = map.collect();
        let matcher = (!map.is_empty()).then(|| look_up(rbac::state(proof.state()), map));
        matcher.map(|matcher| (proof.is_given(), OnMatch::nested(matcher)))
    };
    let inside = |identity: &Identity| {
        let scenarios = scenarios(grants, identity, &operations);
        let matcher = (!scenarios.is_empty()).then(|| look_up(rbac::state(OPERATIONS), scenarios));
        matcher.map(OnMatch::nested)
    };
    let outside = |identity: &Identity| {
        let service = grants.services_of(identity).next()?.name();
        let action = rbac::rbac_action(&service, Verdict::Deny);
        Some(OnMatch::action(action))
    };
    let proofs = Proof::ALL.into_iter();
    let rows = proofs.clone().filter_map(|proof| of(proof, &inside));
    let rows: Vec<(Predicate, OnMatch)> = rows
        .chain(proofs.filter_map(|proof| of(proof, &outside)))
        .collect();
    ShadowRbac {
        shadow_rules_stat_prefix: SERVICES_PREFIX.into(),
        shadow_matcher: (!rows.is_empty()).then(|| first_of(rows)),
    }
}

/// Operations that an identity may do, each with the name of the scenario.
fn scenarios(
    grants: &Grants,
    identity: &Identity,
    operations: &BTreeMap<String, &Operations>,
) -> BTreeMap<String, OnMatch> {
    let allow = |rule: &str| OnMatch::action(rbac::rbac_action(rule, Verdict::Allow));
    let data = operations.iter().filter_map(|(text, operations)| {
        match grants.scope(identity, operations)? {
            Scope::Inside(scenario) => Some((text.clone(), allow(&scenario))),
            Scope::Outside(_) => None,
        }
    });
    data.collect()
}

/// Holds if a proven identity is one of the holders. None if there are no holders.
pub(super) fn holds(holders: Option<&Holders>) -> Option<Predicate> {
    let one_of = holders.into_iter().flatten().map(|identity| {
        is(
            rbac::state(Proof::of(identity).state()),
            exactly(&identity.to_string()),
        )
    });
    let one_of: Vec<Predicate> = one_of.collect();
    (!one_of.is_empty()).then(|| any_of(one_of))
}

/// Holds if the operations of a request are part of a deployment.
pub(super) fn deploys(firewall: &Firewall) -> Predicate {
    let operations = operations(firewall);
    let deployments = operations
        .iter()
        .filter(|(_, operations)| is_deployment(operations));
    let texts = deployments.map(|(text, _)| is(rbac::state(OPERATIONS), exactly(text)));
    any_of(texts.collect())
}

/// Operations of all requests that the vault's API has, by their text.
fn operations(firewall: &Firewall) -> BTreeMap<String, &'static Operations> {
    let operations = firewall.profile().operations();
    operations
        .map(|operations| (operations.to_string(), operations))
        .collect()
}
