//! The one decision function. Everything that enforces or explains is derived from what is decided here.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::client_address::{ipv4, is_unknown};
use super::{AddressRules, DefaultAction, Firewall, ManagementAccess};
use crate::vault_api::{Operations, Plane, Request, Table, classify};

/// The listener that a request came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// The data plane: network rules hold.
    Data,
    /// The management endpoint: planes are told apart, network rules hold only where the policy says so.
    Management,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Peer of the connection; virtual-network rules look at it.
    pub peer: IpAddr,
    /// The client (see [`super::client_address`]); IP rules look at it.
    pub client: IpAddr,
}

/// Yes or no.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request reaches the vault.
    Allow,
    /// It does not.
    Deny,
}

/// Why.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Allowed: the peer is in an enabled subnet.
    VirtualNetworkRule,
    /// Allowed: the client's address is in an IP rule.
    IpRule,
    /// Allowed: nothing else decided and the default action is `Allow`.
    DefaultAction,
    /// Allowed: a probe.
    Infrastructure,
    /// Allowed: management, on the management endpoint.
    ControlPlane,
    /// Denied: nothing allows it.
    ForbiddenByFirewall,
    /// Denied: this plane is not served on this listener.
    ForbiddenByPlane,
    /// Denied: only listed operators reach critical operations.
    ForbiddenCritical,
    /// Denied: the request has more than one reading.
    BadRequest,
}

impl Reason {
    /// Every reason.
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

    /// What it means for the request.
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

    /// Its name in answers and logs.
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

/// A step of the decision that was looked at.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The step.
    pub step: &'static str,
    /// What was found.
    pub found: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why; the verdict follows from it.
    pub reason: Reason,
    /// The rule that allowed it, in full.
    pub rule: Option<Arc<str>>,
    /// Its plane; none for a bad request.
    pub plane: Option<Plane>,
    /// Its operations.
    pub operations: Operations,
    /// Every step, in order.
    pub trace: Vec<Step>,
}

impl Decision {
    /// Yes or no.
    pub fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }
}

/// What network rules say about a plane on a listener, before any address is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneRule {
    /// Decided by the plane alone.
    Always(Reason),
    /// Virtual-network rules, IP rules, default action.
    NetworkRules,
}

/// What holds for a plane on a listener. `decide` and the Envoy compiler both ask here.
pub fn plane_rule(listener: Listener, management: ManagementAccess, plane: Plane) -> PlaneRule {
    match (listener, plane) {
        (_, Plane::Infrastructure) => PlaneRule::Always(Reason::Infrastructure),
        // Operators are not supported yet, so critical operations are open to nobody.
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

/// Decides one request. `table` is the firewall's own.
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
            return trace.decided(Reason::BadRequest, None, None, Operations::default());
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
            format!("{proxy} is a listed proxy, which named no client that could be in a rule"),
        );
    } else if let Some(rule) = trace.look_up("ipRules", "client", caller.client, &firewall.ip_rules)
    {
        return trace.decided(Reason::IpRule, Some(rule), Some(plane), operations);
    }
    trace.note("bypass", "None: no service is trusted".into());
    trace.note("defaultAction", format!("{:?}", firewall.default_action));
    let reason = match firewall.default_action {
        DefaultAction::Allow => Reason::DefaultAction,
        DefaultAction::Deny => Reason::ForbiddenByFirewall,
    };
    trace.decided(reason, None, Some(plane), operations)
}

impl Listener {
    /// Its name in configuration, answers and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Management => "management",
        }
    }
}

struct Trace(Vec<Step>);

impl Trace {
    fn note(&mut self, step: &'static str, found: String) {
        self.0.push(Step { step, found });
    }

    fn look_up(
        &mut self,
        step: &'static str,
        who: &str,
        address: IpAddr,
        rules: &AddressRules,
    ) -> Option<Arc<str>> {
        let found = ipv4(address).and_then(|address| rules.find(address));
        self.note(
            step,
            match (&found, address) {
                (Some((prefix, rule)), _) => format!("{who} {address} is in {prefix} of {rule}"),
                (None, IpAddr::V6(_)) => format!("{who} {address} is IPv6, which matches no rule"),
                (None, IpAddr::V4(_)) => {
                    format!("{who} {address} is in none of {} prefixes", rules.len())
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
            plane,
            operations,
            trace: self.0,
        }
    }
}
