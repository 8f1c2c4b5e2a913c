//! The filter that decides, from the facts that the filters before it found out.

use envoy_types::pb::envoy::config::rbac::v3::Rbac as Rules;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;

use super::matching::{
    action, any_of, begins_with, both, exactly, first_of, header, is, matches, nested, not,
};
use super::names::{BAD_REQUEST, PLANE};
use super::rbac::{self, Fact, METADATA, rbac_action};
use super::{grants, metadata};
use crate::policy::{
    BEARER, DefaultAction, Firewall, Listener, Mode, PlaneRule, Reason, VaultApi, plane_rule,
};
use crate::vault_api::Plane;

/// Prefix of the deciding filter's keys in the metadata.
const DECISION: &str = "decision_";
/// Results of a filter that decides or finds out, as Envoy writes them.
const ALLOWED: &str = "allowed";
pub(super) const DENIED: &str = "denied";

/// Metadata key that holds the reason of the decision.
pub(super) fn reason_key() -> String {
    format!("{DECISION}enforced_effective_policy_id")
}

/// Metadata key that holds the reason for which `mode: Enforced` denies a request. Requests that are denied or allowed
/// in either mode do not have it.
pub(super) fn would_deny_key() -> String {
    format!("{DECISION}shadow_effective_policy_id")
}

/// Metadata key of the deciding filter's result, which every request has that reached it.
pub(super) fn result_key() -> String {
    format!("{DECISION}enforced_engine_result")
}

/// Name of the ECDS resource of a listener's deciding filter.
pub(super) fn decision_resource(listener: Listener) -> &'static str {
    match listener {
        Listener::Data => "vaultwall.decision.data",
        Listener::Management => "vaultwall.decision.management",
    }
}

/// Whether network rules decide any plane of a listener, so that it needs the facts.
pub(super) fn needs_facts(firewall: &Firewall, listener: Listener) -> bool {
    Plane::ALL.iter().any(|plane| {
        matches!(
            plane_rule(listener, firewall, *plane),
            PlaneRule::NetworkRules | PlaneRule::OperatorsInNetworks
        )
    })
}

/// The deciding filter. It denies an unknown plane.
pub(super) fn decision(firewall: &Firewall, listener: Listener) -> Rbac {
    let is_bad_request = is(rbac::given_state(PLANE), exactly(BAD_REQUEST));
    let bad_request = (is_bad_request, reason_action(Reason::BadRequest));
    let planes = Plane::ALL.iter().map(|plane| {
        let decided = by_plane(plane_rule(listener, firewall, *plane), firewall, *plane);
        (is(rbac::state(PLANE), exactly(plane.name())), decided)
    });
    let enforced = Rbac {
        rules_stat_prefix: DECISION.into(),
        matcher: Some(first_of(
            planes.chain(std::iter::once(bad_request)).collect(),
            None,
        )),
        ..Rbac::default()
    };
    match would_deny(firewall, listener) {
        None => enforced,
        recorded => Rbac {
            shadow_rules_stat_prefix: DECISION.into(),
            shadow_matcher: recorded,
            ..enforced
        },
    }
}

/// With `mode: Audit`, the matcher that names the reason for which enforcement denies a request, and none for others.
fn would_deny(firewall: &Firewall, listener: Listener) -> Option<Matcher> {
    if firewall.mode == Mode::Enforced || firewall.default_action == DefaultAction::Allow {
        return None;
    }
    let rows = Plane::ALL.iter().filter_map(|plane| {
        let is_plane = is(rbac::state(PLANE), exactly(plane.name()));
        let (concerned, rules) = match plane_rule(listener, firewall, *plane) {
            PlaneRule::NetworkRules => (is_plane, NetworkRules::of_plane(firewall, *plane)),
            PlaneRule::OperatorsInNetworks => {
                let listed = grants::holds(firewall.grants.operators.as_ref())?;
                (both(is_plane, listed), NetworkRules::of_operators())
            }
            PlaneRule::Always(_) | PlaneRule::Operators | PlaneRule::Deployers => return None,
        };
        let allowed = rules.allowed.into_iter().map(|(predicate, _)| predicate);
        let is_denied = both(concerned, not(any_of(allowed.collect())));
        let named = |(predicate, reason)| (predicate, reason_action(reason));
        let named: Vec<_> = rules.denied.into_iter().map(named).collect();
        let otherwise = reason_action(Reason::ForbiddenByFirewall);
        // Envoy refuses an empty list.
        let reason = if named.is_empty() {
            otherwise
        } else {
            nested(first_of(named, Some(otherwise)))
        };
        Some((is_denied, reason))
    });
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty()).then(|| first_of(rows, None))
}

/// The network rules and the bypass, as rows with a reason. If no row holds, the reason is `ForbiddenByFirewall`.
struct NetworkRules {
    /// Rows that allow a request.
    allowed: Vec<(Predicate, Reason)>,
    /// Rows that deny it, unless the default action or the mode allows it.
    denied: Vec<(Predicate, Reason)>,
    /// Reason if the default action allows it.
    by_default: Reason,
}

impl NetworkRules {
    /// The rules for the requests of a plane.
    fn of_plane(firewall: &Firewall, plane: Plane) -> Self {
        let mut rules = Self {
            allowed: facts(Fact::reason),
            denied: Vec::new(),
            by_default: Reason::DefaultAction,
        };
        if grants::has_bypass(firewall) {
            rules.add_bypass(firewall.api, plane);
        }
        rules
    }

    /// The rules for operators, to whom the bypass does not apply.
    fn of_operators() -> Self {
        Self {
            allowed: facts(|_| Reason::Operator),
            denied: Vec::new(),
            by_default: Reason::Operator,
        }
    }

    fn add_bypass(&mut self, api: VaultApi, plane: Plane) {
        use grants::{is_inside, is_service};
        match plane {
            Plane::Session => self.allowed.push((is_service(), Reason::TrustedService)),
            Plane::Data => {
                let passes = both(is_inside(), carries_token(api));
                self.allowed.push((passes, Reason::TrustedService));
                self.denied.extend([
                    (is_inside(), Reason::ForbiddenByMissingToken),
                    (is_service(), Reason::ForbiddenByScenario),
                ]);
            }
            _ => self.denied.push((is_service(), Reason::ForbiddenByPlane)),
        }
    }

    fn decide(self, firewall: &Firewall) -> OnMatch {
        let by_default = self.by_default;
        let otherwise = |denied| match (firewall.default_action, firewall.mode) {
            (DefaultAction::Allow, _) => by_default,
            (DefaultAction::Deny, Mode::Enforced) => denied,
            (DefaultAction::Deny, Mode::Audit) => Reason::AuditMode,
        };
        let denied = self.denied.into_iter();
        let denied = denied.map(|(predicate, reason)| (predicate, otherwise(reason)));
        let rows = self.allowed.into_iter().chain(denied);
        let rows = rows.map(|(predicate, reason)| (predicate, reason_action(reason)));
        nested(first_of(
            rows.collect(),
            Some(reason_action(otherwise(Reason::ForbiddenByFirewall))),
        ))
    }
}

fn by_plane(rule: PlaneRule, firewall: &Firewall, plane: Plane) -> OnMatch {
    let grants = &firewall.grants;
    let only = |holders, allowed: OnMatch, otherwise: Reason| {
        let otherwise = reason_action(otherwise);
        match grants::holds(holders) {
            Some(listed) => nested(first_of(vec![(listed, allowed)], Some(otherwise))),
            None => otherwise,
        }
    };
    match rule {
        PlaneRule::Always(reason) => reason_action(reason),
        PlaneRule::NetworkRules => NetworkRules::of_plane(firewall, plane).decide(firewall),
        PlaneRule::Operators => only(
            grants.operators.as_ref(),
            reason_action(Reason::Operator),
            Reason::ForbiddenCritical,
        ),
        PlaneRule::OperatorsInNetworks => only(
            grants.operators.as_ref(),
            NetworkRules::of_operators().decide(firewall),
            Reason::ForbiddenCritical,
        ),
        PlaneRule::Deployers => {
            let deploys = first_of(
                vec![(grants::deploys(firewall), reason_action(Reason::Deployer))],
                Some(reason_action(Reason::ForbiddenByPlane)),
            );
            only(
                grants.deployers.as_ref(),
                nested(deploys),
                Reason::ForbiddenByPlane,
            )
        }
    }
}

/// Network rules, each with the reason for a request that it allows.
fn facts(reason: fn(Fact) -> Reason) -> Vec<(Predicate, Reason)> {
    let facts = Fact::ALL.into_iter().map(|fact| {
        let key = format!("{}shadow_engine_result", fact.prefix());
        (is_allowed(&key), reason(fact))
    });
    facts.collect()
}

/// Holds if the request carries the vault's token (see [`Caller::carries_token`]).
fn carries_token(api: VaultApi) -> Predicate {
    let authorization = || header("authorization");
    any_of(vec![
        is(authorization(), begins_with(BEARER)),
        match api {
            VaultApi::OpenBao => is(header("x-vault-token"), matches(r"[^,]\C*")),
            VaultApi::AzureKeyVault => not(is(authorization(), matches(r"\C+"))),
        },
    ])
}

/// Holds if the result of a filter is that it allows the request.
pub(super) fn is_allowed(key: &str) -> Predicate {
    metadata::is(METADATA, key, metadata::text(ALLOWED))
}

fn reason_action(reason: Reason) -> OnMatch {
    action(rbac_action(reason.name(), reason.verdict()))
}

/// Denies everything, until Envoy has received the first configuration of a filter.
pub(super) fn deny_all() -> Rbac {
    Rbac {
        rules: Some(Rules::default()),
        rules_stat_prefix: DECISION.into(),
        ..Rbac::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compile::envoy::names::ATTEMPT;
    use prost::Message;

    use crate::policy::VaultId;

    #[test]
    fn every_filter_that_envoy_could_refuse_differs_in_each_attempt() {
        let mut firewall = Firewall::deny_all(
            VaultId {
                namespace: "team-a".into(),
                service: "openbao".into(),
            },
            8200,
        );
        let rule: Arc<str> = "rule".into();
        for (rules, prefixes) in [
            (
                &mut firewall.virtual_networks,
                &["10.0.0.1/32", "10.1.0.0/16"][..],
            ),
            (&mut firewall.ip_rules, &["203.0.113.7/32"]),
        ] {
            let prefixes = prefixes.iter().filter_map(|prefix| prefix.parse().ok());
            rules
                .0
                .extend(prefixes.map(|prefix| (prefix, Arc::clone(&rule))));
        }
        let facts = Fact::ALL.map(|fact| fact.filter(&firewall));
        let decisions = [Listener::Data, Listener::Management].map(|on| decision(&firewall, on));
        for filter in facts.iter().chain(&decisions) {
            let bytes = filter.encode_to_vec();
            assert!(String::from_utf8_lossy(&bytes).contains(ATTEMPT));
        }
    }
}
