//! The filters of identities: one that finds the service account of the peer's pod, and one that finds the trusted
//! service and the scenario of a request.
//!
//! Both are composite filters, which write into the filter state and exist only for a request with a match. In between,
//! the identities of tokens are copied into the filter state: a matcher can look up a text of it in a map, and a text
//! of the metadata only in a list. Every identity is written as itself, never as a number. The filters arrive one by
//! one, and a number of an earlier version would stand for somebody else.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::extensions::filters::common::set_filter_state::v3::FilterStateValue;
use envoy_types::pb::envoy::extensions::filters::http::composite::v3::Composite;
use envoy_types::pb::envoy::extensions::filters::http::set_filter_state::v3::Config as SetFilterState;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use ipnet::Ipv4Net;

use super::composite::{chosen_by, execute};
use super::matching::{any_of, begins_with, contains, exactly, is, matches};
use super::names::OPERATIONS;
use super::rbac;
use super::routes::filter_state;
use super::text_map::{ChosenByText, OnMatch, first_of, look_up};
use super::{client, token};
use crate::policy::{
    self, Firewall, Grants, Holders, Identity, Listener, PlaneRule, Scope, is_deployment,
    plane_rule,
};
use crate::vault_api::{Operations, Plane};

/// Name of the ECDS resource that finds the pod's service account.
pub(super) const PODS: &str = "vaultwall.pods";
/// Name of the ECDS resource that finds the trusted service and its scenario.
pub(super) const SERVICES: &str = "vaultwall.trusted-services";
/// Filter state with the service account of the peer's pod, `NAMESPACE/NAME`; missing if there is none.
pub(super) const POD: &str = "vaultwall.pod";
/// Filter state with the scenario that has a request's operations, or else the caller's service; missing for others.
pub(super) const SERVICE: &str = "vaultwall.service";

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
            Self::Pod => POD,
            Self::Token => "vaultwall.token",
            Self::PodAndToken => "vaultwall.pod-and-token",
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

/// The filter that finds the service account of the peer's pod, and writes it into the filter state.
pub(super) fn pods(firewall: &Firewall) -> Composite {
    let mut by_account: BTreeMap<String, Vec<Ipv4Net>> = BTreeMap::new();
    for (address, account) in &firewall.grants.pods {
        let addresses = by_account.entry(account.to_string()).or_default();
        addresses.push(Ipv4Net::from(*address));
    }
    if by_account.is_empty() {
        return Composite::default();
    }
    let sets = by_account.into_iter().map(|(account, addresses)| {
        let state = SetFilterState {
            on_request_headers: vec![filter_state(POD, &account)],
            ..SetFilterState::default()
        };
        (execute(&state), addresses)
    });
    chosen_by(rbac::by_address(sets, rbac::direct_peer()))
}

/// Filter states with the identities that a token proves.
pub(super) fn states(firewall: &Firewall) -> impl Iterator<Item = FilterStateValue> {
    let has_tokens = firewall.tokens.is_some();
    let copied = [
        (Proof::Token, token::IDENTIFIED),
        (Proof::PodAndToken, token::POD),
    ];
    let copied = copied.into_iter().filter(move |_| has_tokens);
    copied.map(|(proof, key)| FilterStateValue {
        skip_if_empty: true,
        ..filter_state(proof.state(), &client::metadata(key))
    })
}

/// The filter that finds the trusted service and the scenario, and writes its name into the filter state.
pub(super) fn services(firewall: &Firewall) -> ChosenByText {
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
        Some(OnMatch::action(names(&service)))
    };
    let proofs = Proof::ALL.into_iter();
    let rows = proofs.clone().filter_map(|proof| of(proof, &inside));
    let rows: Vec<(Predicate, OnMatch)> = rows
        .chain(proofs.filter_map(|proof| of(proof, &outside)))
        .collect();
    ChosenByText {
        matcher: (!rows.is_empty()).then(|| first_of(rows)),
    }
}

/// An action that writes the name of a service or a scenario into the filter state.
fn names(service: &str) -> TypedExtensionConfig {
    execute(&SetFilterState {
        on_request_headers: vec![filter_state(SERVICE, service)],
        ..SetFilterState::default()
    })
}

/// Operations that an identity may do, each with the name of the scenario.
fn scenarios(
    grants: &Grants,
    identity: &Identity,
    operations: &BTreeMap<String, &Operations>,
) -> BTreeMap<String, OnMatch> {
    let data = operations.iter().filter_map(|(text, operations)| {
        match grants.scope(identity, operations)? {
            Scope::Inside(scenario) => Some((text.clone(), OnMatch::action(names(&scenario)))),
            Scope::Outside(_) => None,
        }
    });
    data.collect()
}

/// Holds for a trusted service.
pub(super) fn is_service() -> Predicate {
    is(rbac::state(SERVICE), begins_with(policy::SERVICE))
}

/// Holds for a trusted service in one of its scenarios. No name has a slash.
pub(super) fn is_inside() -> Predicate {
    let scenario = format!("{}[^/]+/[^/]+", policy::SERVICE);
    is(rbac::state(SERVICE), matches(&scenario))
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
