//! The only decision function. Enforcement by Envoy, `explain` and the tests must agree with it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::client_address::{ipv4, is_unknown};
use super::grants::{Holders, Identity, Scope, ServiceGrant, is_deployment};
use super::model::{AddressRules, Firewall};
use super::reason::{Reason, Verdict};
use super::token::TokenProof;
use crate::api::{DefaultAction, ManagementAccess, Mode, VaultApi};
use crate::vault_api::{BadRequest, Class, Operations, Plane, Request, Table, classify};

/// The listener that received a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// The data endpoint, with network rules.
    Data,
    /// The management endpoint. It serves only some planes, and has network rules only with `access: NetworkRules`.
    Management,
}

/// Sender of a request: its addresses, and what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller<'a> {
    /// Peer of the connection; virtual-network rules apply to it.
    pub peer: IpAddr,
    /// The client (see [`super::client_address`]); IP rules apply to it.
    pub client: IpAddr,
    /// Whether the request carries the vault's own token, which the bypass requires.
    pub vault_token: bool,
    /// Token that proves an identity.
    pub proof: &'a TokenProof,
}

impl Caller<'_> {
    /// A caller without a token.
    pub fn new(peer: IpAddr, client: IpAddr) -> Self {
        Self {
            peer,
            client,
            vault_token: false,
            proof: &TokenProof::None,
        }
    }

    /// Whether a request carries the vault's token, by the values of its headers `X-Vault-Token` and `Authorization`;
    /// repeated ones are joined by commas. The vault reads the first of them only, so an empty first one is none.
    ///
    /// Clients of Azure Key Vault send their first request without any `Authorization`, to learn from the 401 of the
    /// vault which token it wants. Such a request counts as one with a token, which the vault then refuses.
    pub fn carries_token(
        api: VaultApi,
        vault_token: Option<&str>,
        authorization: Option<&str>,
    ) -> bool {
        let authorization = authorization.filter(|value| !value.is_empty());
        let is_bearer = authorization.is_some_and(|value| value.starts_with(BEARER));
        match api {
            VaultApi::OpenBao => {
                let is_given = |value: &str| !value.is_empty() && !value.starts_with(',');
                is_bearer || vault_token.is_some_and(is_given)
            }
            VaultApi::AzureKeyVault => is_bearer || authorization.is_none(),
        }
    }
}

/// Beginning of an `Authorization` header with the vault's token, exactly as the vault requires it.
pub const BEARER: &str = "Bearer ";

/// An evaluated step of a decision.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the step: `classify`, `plane`, or a field of the policy such as `ipRules`.
    pub step: &'static str,
    /// Result of the step, for people.
    pub found: String,
}

/// The decision about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Reason, from which the verdict follows.
    pub reason: Reason,
    /// Full name of the rule that allowed the request.
    pub rule: Option<Arc<str>>,
    /// Reason for which the request would be denied with `mode: Enforced`; only for [`Reason::AuditMode`].
    pub would_deny: Option<Reason>,
    /// Why the request is a bad one, if it is.
    pub problem: Option<BadRequest>,
    /// Plane of the request; `None` for a bad request.
    pub plane: Option<Plane>,
    /// Operations of the request, by Azure Key Vault's names.
    pub operations: Operations,
    /// Evaluated steps, in order.
    pub trace: Vec<Step>,
}

impl Decision {
    /// Returns the verdict that follows from the reason.
    pub fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }
}

/// Rule for a plane on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneRule {
    /// The plane alone decides; addresses and identities do not matter.
    Always(Reason),
    /// Virtual-network rules, then IP rules, then the bypass, then the default action decide.
    NetworkRules,
    /// Operators only, if network rules allow them; the bypass does not.
    OperatorsInNetworks,
    /// Operators only, whatever their network.
    Operators,
    /// Writes of deployers only, whatever their network.
    Deployers,
}

/// Returns the rule for a plane on a listener. [`decide`] and the Envoy compiler both use it.
pub fn plane_rule(listener: Listener, firewall: &Firewall, plane: Plane) -> PlaneRule {
    let operators = |rule| match firewall.grants.operators {
        None => PlaneRule::Always(Reason::ForbiddenCritical),
        Some(_) => rule,
    };
    let by_plane = PlaneRule::Always(Reason::ForbiddenByPlane);
    match (listener, firewall.management, plane) {
        (_, _, Plane::Infrastructure) => PlaneRule::Always(Reason::Infrastructure),
        (_, _, Plane::Internal)
        | (
            Listener::Management,
            ManagementAccess::Disabled,
            Plane::Data | Plane::Session | Plane::Control,
        ) => by_plane,
        (Listener::Data, _, Plane::Critical)
        | (Listener::Management, ManagementAccess::NetworkRules, Plane::Critical) => {
            operators(PlaneRule::OperatorsInNetworks)
        }
        (Listener::Data, _, Plane::Data | Plane::Session | Plane::Control)
        | (Listener::Management, ManagementAccess::NetworkRules, Plane::Session | Plane::Control) => {
            PlaneRule::NetworkRules
        }
        (Listener::Management, ManagementAccess::Disabled, Plane::Critical) => {
            PlaneRule::Always(Reason::ForbiddenCritical)
        }
        (Listener::Management, ManagementAccess::Unrestricted, Plane::Critical) => {
            operators(PlaneRule::Operators)
        }
        (Listener::Management, _, Plane::Data) => match firewall.grants.deployers {
            None => by_plane,
            Some(_) => PlaneRule::Deployers,
        },
        (Listener::Management, ManagementAccess::Unrestricted, Plane::Session | Plane::Control) => {
            PlaneRule::Always(Reason::ControlPlane)
        }
    }
}

/// Decides about one request. `table` must be the table of `firewall`.
pub fn decide(
    firewall: &Firewall,
    table: &Table,
    listener: Listener,
    caller: Caller<'_>,
    request: &Request<'_>,
) -> Decision {
    let mut trace = Trace(Vec::new());
    let class = match classify(table, request) {
        Ok(row) => {
            trace.note(
                "classify",
                format!("{} plane, by {}", row.class.plane, row.name),
            );
            &row.class
        }
        Err(problem) => {
            trace.note("classify", problem.to_string());
            return Decision {
                reason: Reason::BadRequest,
                rule: None,
                would_deny: None,
                problem: Some(problem),
                plane: None,
                operations: Operations::default(),
                trace: trace.0,
            };
        }
    };
    let found = by_class(firewall, listener, caller, class, &mut trace);
    Decision {
        reason: found.reason,
        rule: found.rule,
        would_deny: found.would_deny,
        problem: None,
        plane: Some(class.plane),
        operations: class.operations.clone(),
        trace: trace.0,
    }
}

/// Decides about a classified request: the part of [`decide`] after the classification. Returns the reason, and the
/// rule that allowed the request.
pub fn decide_class(
    firewall: &Firewall,
    listener: Listener,
    caller: Caller<'_>,
    class: &Class,
) -> (Reason, Option<Arc<str>>) {
    let found = by_class(firewall, listener, caller, class, &mut Trace(Vec::new()));
    (found.reason, found.rule)
}

/// The essence of a decision.
struct Found {
    reason: Reason,
    rule: Option<Arc<str>>,
    would_deny: Option<Reason>,
}

impl From<Reason> for Found {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            rule: None,
            would_deny: None,
        }
    }
}

impl Found {
    fn by_rule(reason: Reason, rule: Arc<str>) -> Self {
        Self {
            rule: Some(rule),
            ..Self::from(reason)
        }
    }
}

fn by_class(
    firewall: &Firewall,
    listener: Listener,
    caller: Caller<'_>,
    class: &Class,
    trace: &mut Trace,
) -> Found {
    let grants = &firewall.grants;
    let proven = firewall.proven(caller.peer, caller.proof);
    let rule = plane_rule(listener, firewall, class.plane);
    if rule != PlaneRule::NetworkRules {
        let on = format!("{} on the {} listener", class.plane, listener.name());
        trace.note("plane", on);
    }
    match rule {
        PlaneRule::Always(reason) => reason.into(),
        PlaneRule::NetworkRules => by_network(firewall, caller, trace).unwrap_or_else(|| {
            bypass(firewall, caller, &proven, class, trace)
                .unwrap_or_else(|| default_action(firewall, Reason::ForbiddenByFirewall, trace))
        }),
        PlaneRule::Operators | PlaneRule::OperatorsInNetworks => {
            if !trace.holds("management.operators", grants.operators.as_ref(), &proven) {
                return Reason::ForbiddenCritical.into();
            }
            if rule == PlaneRule::Operators {
                return Reason::Operator.into();
            }
            let found = by_network(firewall, caller, trace)
                .unwrap_or_else(|| default_action(firewall, Reason::ForbiddenByFirewall, trace));
            match (found.would_deny, found.reason.verdict()) {
                (None, Verdict::Allow) => Found {
                    reason: Reason::Operator,
                    ..found
                },
                (Some(_), _) | (None, Verdict::Deny) => found,
            }
        }
        PlaneRule::Deployers => {
            let is_deployer =
                trace.holds("management.deployers", grants.deployers.as_ref(), &proven);
            if is_deployer && is_deployment(&class.operations) {
                Reason::Deployer.into()
            } else {
                Reason::ForbiddenByPlane.into()
            }
        }
    }
}

/// Evaluates the network rules. Returns none if no rule allows the caller.
fn by_network(firewall: &Firewall, caller: Caller<'_>, trace: &mut Trace) -> Option<Found> {
    if let Some(rule) = trace.look_up(
        "virtualNetworkRules",
        "peer",
        caller.peer,
        &firewall.virtual_networks,
    ) {
        return Some(Found::by_rule(Reason::VirtualNetworkRule, rule));
    }
    if is_unknown(&firewall.client_address, caller.client) {
        let proxy = caller.client;
        trace.note(
            "ipRules",
            format!("{proxy} is a trusted proxy, so the client is unknown and matches no rule"),
        );
        return None;
    }
    let rule = trace.look_up("ipRules", "client", caller.client, &firewall.ip_rules)?;
    Some(Found::by_rule(Reason::IpRule, rule))
}

/// Evaluates the bypass for a caller that no network rule allows. Returns none if it is no trusted service.
fn bypass(
    firewall: &Firewall,
    caller: Caller<'_>,
    proven: &[Identity],
    class: &Class,
    trace: &mut Trace,
) -> Option<Found> {
    const STEP: &str = "bypass";
    let grants = &firewall.grants;
    let mut services = proven.iter().flat_map(|one| grants.services_of(one));
    let Some(service) = services.next().map(ServiceGrant::name) else {
        let found = match grants.services {
            None => "None: no service is trusted".to_owned(),
            Some(_) => format!("{} is no trusted service", described(proven)),
        };
        trace.note(STEP, found);
        return None;
    };
    let denied = match class.plane {
        Plane::Session => {
            trace.note(STEP, format!("{service}, which may log in"));
            return Some(Found::by_rule(Reason::TrustedService, service));
        }
        Plane::Data => {
            let scopes = proven
                .iter()
                .filter_map(|one| grants.scope(one, &class.operations));
            let inside = scopes.into_iter().find_map(|scope| match scope {
                Scope::Inside(scenario) => Some(scenario),
                Scope::Outside(_) => None,
            });
            match inside {
                Some(scenario) if caller.vault_token => {
                    trace.note(STEP, format!("{scenario} has {}", class.operations));
                    return Some(Found::by_rule(Reason::TrustedService, scenario));
                }
                Some(scenario) => {
                    trace.note(
                        STEP,
                        format!("{scenario}, but without a token of the vault"),
                    );
                    Reason::ForbiddenByMissingToken
                }
                None => {
                    let operations = &class.operations;
                    trace.note(STEP, format!("no scenario of {service} has {operations}"));
                    Reason::ForbiddenByScenario
                }
            }
        }
        // The bypass never opens another plane.
        plane => {
            trace.note(STEP, format!("{service} may not use the {plane} plane"));
            Reason::ForbiddenByPlane
        }
    };
    Some(default_action(firewall, denied, trace))
}

/// Proven identities, for a trace.
fn described(proven: &[Identity]) -> String {
    match proven {
        [] => "a caller without a proven identity".to_owned(),
        proven => {
            let proven: Vec<String> = proven.iter().map(Identity::described).collect();
            proven.join(" and ")
        }
    }
}

/// Applies the default action to a caller that is denied for a reason otherwise. This is the only denial that `Audit`
/// does not enforce: a firewall in `Audit` forwards what it would forward with the default action `Allow`, and no more.
fn default_action(firewall: &Firewall, denied: Reason, trace: &mut Trace) -> Found {
    trace.note("defaultAction", firewall.default_action.name().into());
    match (firewall.default_action, firewall.mode) {
        (DefaultAction::Allow, _) => Reason::DefaultAction.into(),
        (DefaultAction::Deny, Mode::Enforced) => denied.into(),
        (DefaultAction::Deny, Mode::Audit) => {
            trace.note("mode", format!("Audit: {} is only recorded", denied.name()));
            Found {
                would_deny: Some(denied),
                ..Reason::AuditMode.into()
            }
        }
    }
}

impl Listener {
    /// Name of the listener in Envoy's configuration, answers and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Management => "management",
        }
    }
}

/// Collects the steps of a decision.
struct Trace(Vec<Step>);

impl Trace {
    fn note(&mut self, step: &'static str, found: String) {
        self.0.push(Step { step, found });
    }

    fn look_up(
        &mut self,
        step: &'static str,
        role: &str,
        address: IpAddr,
        rules: &AddressRules,
    ) -> Option<Arc<str>> {
        let found = ipv4(address).and_then(|address| rules.find(address));
        self.note(
            step,
            match (&found, address) {
                (Some((prefix, name)), _) => format!("{role} {address} is in {prefix} of {name}"),
                (None, IpAddr::V6(_)) => format!("{role} {address} is IPv6, which matches no rule"),
                (None, IpAddr::V4(_)) => {
                    format!("{role} {address} is in none of {} prefixes", rules.len())
                }
            },
        );
        found.map(|(_, rule)| rule.clone())
    }

    /// Whether a proven identity holds a grant.
    fn holds(
        &mut self,
        step: &'static str,
        holders: Option<&Holders>,
        proven: &[Identity],
    ) -> bool {
        let holds = proven
            .iter()
            .any(|one| holders.is_some_and(|all| all.contains(one)));
        let is = if holds { "is listed" } else { "is not listed" };
        self.note(step, format!("{} {is}", described(proven)));
        holds
    }
}
