//! What to do about a denial: one sentence for a person, and whom to ask. Pure; decides nothing.

use super::client_address::ipv4;
use super::{
    Caller, Decision, Firewall, Listener, ManagementAccess, Mismatch, Nearest, PlaneRule,
    PodLabels, Reason, Verdict, plane_rule,
};
use crate::api::{SERVICE_ENDPOINT_ENABLED, SERVICE_ENDPOINT_LABEL};
use crate::vault_api::Plane;

/// A denied request.
#[derive(Clone, Copy, Debug)]
pub struct Denied<'a> {
    /// The vault's firewall.
    pub firewall: &'a Firewall,
    /// The listener that was asked.
    pub listener: Listener,
    /// Who asked.
    pub caller: Caller,
    /// The pod behind the peer's address.
    pub pod: Option<PodLabels<'a>>,
    /// The rule that came nearest.
    pub nearest: Option<&'a Nearest>,
    /// The answer.
    pub decision: &'a Decision,
}

/// What to do; none when the request was allowed.
pub fn remedy(denied: &Denied<'_>) -> Option<String> {
    let decision = denied.decision;
    if decision.verdict() == Verdict::Allow {
        return None;
    }
    Some(match (decision.reason, decision.plane) {
        (Reason::BadRequest, _) => "Send the request so that it has one reading only: no `;`, no encoded slashes or \
             control characters, plain query keys, and the vault namespace either by header or by path."
            .into(),
        (Reason::ForbiddenCritical, _) => "Nobody does this through the firewall, because it needs no token or could \
             end the vault. Run it in one of the vault's own pods."
            .into(),
        (_, Some(Plane::Internal)) => {
            "Only the vault's own peers use this path; they reach each other's pods directly.".into()
        }
        (Reason::ForbiddenByPlane, Some(Plane::Data)) => {
            "The management endpoint serves no secrets, keys or certificates: send the request to the data endpoint."
                .into()
        }
        (Reason::ForbiddenByPlane, _) => match owner(denied.firewall) {
            Some(owner) => format!(
                "Ask {owner} to set spec.management.access to Unrestricted or NetworkRules, or use the data endpoint."
            ),
            None => nobody(denied.firewall),
        },
        _ => by_firewall(denied),
    })
}

fn by_firewall(denied: &Denied<'_>) -> String {
    let Some(owner) = owner(denied.firewall) else {
        return nobody(denied.firewall);
    };
    let request = match denied.nearest.map(|nearest| &nearest.mismatch) {
        Some(Mismatch::OptIn { namespace }) => format!(
            "a cluster admin to label namespace {namespace} {}: the nearest rule lacks nothing else",
            opt_in_label()
        ),
        Some(Mismatch::ServiceEndpoint {
            virtual_network,
            subnet,
        }) => format!(
            "the owner of VirtualNetwork {virtual_network} to add Vault to the serviceEndpoints of its subnet {subnet}: \
             the nearest rule lacks nothing else"
        ),
        _ => format!("{owner} to {}", rule_for(denied)),
    };
    let elsewhere = denied.decision.plane.is_some_and(|plane| {
        let management = denied.firewall.management;
        denied.listener == Listener::Data
            && management == ManagementAccess::Unrestricted
            && plane_rule(Listener::Management, management, plane)
                == PlaneRule::Always(Reason::ControlPlane)
    });
    if elsewhere {
        format!(
            "Send it to the management endpoint, which network rules do not affect, or ask {request}."
        )
    } else {
        format!("Ask {request}.")
    }
}

/// The rule that would let the caller in.
fn rule_for(denied: &Denied<'_>) -> String {
    let Caller { peer, client } = denied.caller;
    if let Some(pod) = denied.pod {
        let opted_in = pod.namespace_labels.is_some_and(|labels| {
            labels
                .get(SERVICE_ENDPOINT_LABEL)
                .is_some_and(|value| value == SERVICE_ENDPOINT_ENABLED)
        });
        let and = if opted_in {
            String::new()
        } else {
            format!(
                ", and a cluster admin to label its namespace {}",
                opt_in_label()
            )
        };
        return format!(
            "add an entry to spec.virtualNetworkRules that selects pod {}/{}{and}",
            pod.namespace, pod.name
        );
    }
    if ipv4(peer).is_none() && ipv4(client).is_none() {
        return "tell you an IPv4 address of the endpoint: an IPv6 caller matches no rule".into();
    }
    if crate::address::public_prefix(&client.to_string()).is_ok() {
        return format!("add an entry to spec.ipRules with the value {client}");
    }
    format!(
        "add an entry to spec.virtualNetworkRules for a VirtualNetwork subnet whose addressPrefixes hold {peer}"
    )
}

fn opt_in_label() -> String {
    format!("{SERVICE_ENDPOINT_LABEL}={SERVICE_ENDPOINT_ENABLED}")
}

fn owner(firewall: &Firewall) -> Option<String> {
    let policy = firewall.policies.first()?;
    Some(format!(
        "the owner of policy {}/{policy}",
        firewall.vault.namespace
    ))
}

fn nobody(firewall: &Firewall) -> String {
    format!(
        "No policy of {} is accepted, so nobody is let in: correct what `vaultwall validate` finds in its policies.",
        firewall.vault
    )
}
