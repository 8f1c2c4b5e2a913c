//! The only decision function. Enforcement by Envoy, `explain` and the tests must agree with it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::client_address::{ipv4, is_unknown};
use super::model::{AddressRules, Firewall};
use crate::api::{DefaultAction, ManagementAccess};
use crate::vault_api::{BadRequest, Operations, Plane, Request, Table, classify};

/// The listener that received a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// The data endpoint, with network rules.
    Data,
    /// The management endpoint. It serves only some planes, and has network rules only with `access: NetworkRules`.
    Management,
}

/// Addresses of a request's sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Peer of the connection; virtual-network rules apply to it.
    pub peer: IpAddr,
    /// The client (see [`super::client_address`]); IP rules apply to it.
    pub client: IpAddr,
}

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
    /// Allowed: no rule matched and the default action is `Allow`.
    DefaultAction,
    /// Allowed: a health probe.
    Infrastructure,
    /// Allowed: a management request on the management endpoint.
    ControlPlane,
    /// Denied: no rule allows the caller.
    ForbiddenByFirewall,
    /// Denied: the listener does not serve the plane.
    ForbiddenByPlane,
    /// Denied: a critical operation.
    ForbiddenCritical,
    /// Denied: the request is ambiguous.
    BadRequest,
}

impl Reason {
    /// All reasons, those that allow first.
    pub const ALL: [Self; 9] = [
        Self::VirtualNetworkRule,
        Self::IpRule,
        Self::DefaultAction,
        Self::Infrastructure,
        Self::ControlPlane,
        Self::ForbiddenByFirewall,
        Self::ForbiddenByPlane,
        Self::ForbiddenCritical,
        Self::BadRequest,
    ];

    /// Returns the verdict that follows from the reason.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::VirtualNetworkRule
            | Self::IpRule
            | Self::DefaultAction
            | Self::Infrastructure
            | Self::ControlPlane => Verdict::Allow,
            Self::ForbiddenByFirewall
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
            Self::DefaultAction => "DefaultAction",
            Self::Infrastructure => "Infrastructure",
            Self::ControlPlane => "ControlPlane",
            Self::ForbiddenByFirewall => "ForbiddenByFirewall",
            Self::ForbiddenByPlane => "ForbiddenByPlane",
            Self::ForbiddenCritical => "ForbiddenCritical",
            Self::BadRequest => "BadRequest",
        }
    }
}

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
    /// The plane alone decides; addresses do not matter.
    Always(Reason),
    /// Virtual-network rules, then IP rules, then the default action decide.
    NetworkRules,
}

/// Returns the rule for a plane on a listener. [`decide`] and the Envoy compiler both use it.
pub fn plane_rule(listener: Listener, management: ManagementAccess, plane: Plane) -> PlaneRule {
    match (listener, plane) {
        (_, Plane::Infrastructure) => PlaneRule::Always(Reason::Infrastructure),
        // Operators are not supported yet, so critical operations are always denied.
        (_, Plane::Critical) => PlaneRule::Always(Reason::ForbiddenCritical),
        (_, Plane::Internal) | (Listener::Management, Plane::Data) => {
            PlaneRule::Always(Reason::ForbiddenByPlane)
        }
        (Listener::Data, Plane::Data | Plane::Session | Plane::Control) => PlaneRule::NetworkRules,
        (Listener::Management, Plane::Session | Plane::Control) => match management {
            ManagementAccess::Unrestricted => PlaneRule::Always(Reason::ControlPlane),
            ManagementAccess::NetworkRules => PlaneRule::NetworkRules,
            ManagementAccess::Disabled => PlaneRule::Always(Reason::ForbiddenByPlane),
        },
    }
}

/// Decides about one request. `table` must be the table of `firewall`.
pub fn decide(
    firewall: &Firewall,
    table: &Table,
    listener: Listener,
    caller: Caller,
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
            let none = Operations::default();
            return Decision {
                problem: Some(problem),
                ..trace.decided(Reason::BadRequest, None, None, none)
            };
        }
    };
    let (plane, operations) = (class.plane, class.operations.clone());
    if let PlaneRule::Always(reason) = plane_rule(listener, firewall.management, plane) {
        trace.note(
            "plane",
            format!("{plane} on the {} listener", listener.name()),
        );
        return trace.decided(reason, None, Some(plane), operations);
    }
    if let Some(rule) = trace.look_up(
        "virtualNetworkRules",
        "peer",
        caller.peer,
        &firewall.virtual_networks,
    ) {
        return trace.decided(
            Reason::VirtualNetworkRule,
            Some(rule),
            Some(plane),
            operations,
        );
    }
    if is_unknown(&firewall.client_address, caller.client) {
        let proxy = caller.client;
        trace.note(
            "ipRules",
            format!("{proxy} is a trusted proxy, so the client is unknown and matches no rule"),
        );
    } else if let Some(rule) = trace.look_up("ipRules", "client", caller.client, &firewall.ip_rules)
    {
        return trace.decided(Reason::IpRule, Some(rule), Some(plane), operations);
    }
    trace.note("bypass", "None: no service is trusted".into());
    trace.note("defaultAction", firewall.default_action.name().into());
    let reason = match firewall.default_action {
        DefaultAction::Allow => Reason::DefaultAction,
        DefaultAction::Deny => Reason::ForbiddenByFirewall,
    };
    trace.decided(reason, None, Some(plane), operations)
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

    fn decided(
        self,
        reason: Reason,
        rule: Option<Arc<str>>,
        plane: Option<Plane>,
        operations: Operations,
    ) -> Decision {
        Decision {
            reason,
            rule,
            problem: None,
            plane,
            operations,
            trace: self.0,
        }
    }
}
