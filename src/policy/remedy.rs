//! Advice after a denial: a sentence that names the owner who can change it. Pure; it makes no decision.

use super::client_address::{ipv4, is_unknown};
use super::decide::{Caller, Decision, Listener, PlaneRule, plane_rule};
use super::model::Firewall;
use super::nearest::{Mismatch, Nearest, PodLabels};
use super::pod_group::{is_opted_in, opt_in_label};
use super::reason::{Reason, Verdict};
use crate::address::public_prefix;
use crate::api::ManagementAccess;
use crate::vault_api::{BadRequest, Dialect, Operations, Plane, Profile, path};

/// A denied request, with everything that the advice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Denied<'a> {
    /// Firewall of the vault.
    pub firewall: &'a Firewall,
    /// Listener that received the request.
    pub listener: Listener,
    /// Addresses of the sender.
    pub caller: Caller<'a>,
    /// Pod that has the peer's address, if one is known and is no trusted proxy.
    pub pod: Option<PodLabels<'a>>,
    /// Rule that almost allowed the request.
    pub nearest: Option<&'a Nearest>,
    /// Decision about the request.
    pub decision: &'a Decision,
}

/// Returns the advice, or `None` if the request was allowed.
pub fn remedy(denied: &Denied<'_>) -> Option<String> {
    let decision = denied.decision;
    let dialect = &*Profile::of(denied.firewall.api).dialect;
    if decision.verdict() == Verdict::Allow {
        return None;
    }
    Some(match (decision.reason, decision.plane) {
        (Reason::BadRequest, _) => one_meaning(dialect, decision.problem.as_ref()),
        (Reason::ForbiddenCritical, _) => critical(denied.firewall),
        (Reason::ForbiddenByScenario, _) => outside_scenario(denied),
        (Reason::ForbiddenByMissingToken, _) => "Log in to the vault (`auth/MOUNT/login`, which needs no rule), and \
             send its token in X-Vault-Token, or in Authorization after `Bearer `."
            .into(),
        (Reason::ForbiddenByPlane, Some(Plane::Control)) if denied.listener == Listener::Data => {
            "A trusted service has no access to the vault's management through the data endpoint. Send the request to \
             the management endpoint."
                .into()
        }
        (_, Some(Plane::Internal)) => {
            "The firewall never forwards this path. The vault's peers connect to each other's pods directly; for \
             metrics, give the vault a listener that serves nothing else."
                .into()
        }
        (Reason::ForbiddenByPlane, Some(Plane::Data)) => {
            let elsewhere = "The management endpoint does not serve secrets, keys or certificates, nor requests that \
                             could return them: send the request to the data endpoint.";
            if dialect.namespaces {
                format!(
                    "{elsewhere} In a vault namespace, the management endpoint serves requests only if \
                     spec.vault.namespaces lists the namespace, and an auth method at a path of several segments only \
                     if spec.vault.authMounts lists the path."
                )
            } else {
                elsewhere.into()
            }
        }
        (Reason::ForbiddenByPlane, _) => match owner(denied.firewall) {
            Some(owner) => format!(
                "Ask {owner} to set spec.management.access to Unrestricted or NetworkRules, or use the data endpoint."
            ),
            None => no_policy(denied.firewall),
        },
        _ => by_firewall(denied),
    })
}

/// Advice for a critical operation.
fn critical(firewall: &Firewall) -> String {
    let list = match owner(firewall) {
        Some(owner) => format!(", or ask {owner} to list the caller in spec.management.operators"),
        None => String::new(),
    };
    format!(
        "The firewall denies this to everybody but listed operators: it could destroy or open the vault, or the \
         firewall does not know the path. Run it in one of the vault's own pods{list}."
    )
}

/// Advice for a trusted service that asks for more than its scenarios.
fn outside_scenario(denied: &Denied<'_>) -> String {
    let Some(owner) = owner(denied.firewall) else {
        return no_policy(denied.firewall);
    };
    let operations = &denied.decision.operations;
    if *operations == Operations::unknown() {
        return unknown_operation(denied, &owner);
    }
    format!(
        "Ask {owner} to {}; or, if the service has to do {operations} everywhere, ask the platform's admin to add it \
         to a scenario of the TrustedService.",
        rule_for(denied)
    )
}

/// Advice for a trusted service whose request no scenario can contain.
fn unknown_operation(denied: &Denied<'_>, owner: &str) -> String {
    let rule = rule_for(denied);
    if Profile::of(denied.firewall.api).engines.is_empty() {
        return format!(
            "The firewall does not know the operation of this path, so no scenario can contain it: correct the path, \
             or ask {owner} to {rule}."
        );
    }
    format!(
        "No engine in spec.vault.engines has this path, so its operation is unknown, and no scenario can contain it: \
         ask {owner} to list the engine with path and type there. If it is listed, correct the path, or ask for a \
         rule: {rule}."
    )
}

/// Advice for a caller that may be meant to be a trusted service: the ways in which an identity is not proven.
fn unproven(denied: &Denied<'_>) -> &'static str {
    let passes = matches!(denied.decision.plane, Some(Plane::Data | Plane::Session));
    match denied.firewall.grants.services {
        Some(_) if passes && denied.listener == Listener::Data => {
            " If the caller is meant to be a trusted service: compare its service account, or the issuer, subject and \
             audience of its token, with spec.identities of the TrustedService, and check that \
             spec.trustedServices.names has the service or is left out. The token belongs in X-Vaultwall-Token (here \
             --claims)."
        }
        _ => "",
    }
}

/// Advice for a request that could have several meanings: the form to send it in.
fn one_meaning(dialect: &Dialect, problem: Option<&BadRequest>) -> String {
    match problem {
        Some(BadRequest::Method(_)) => {
            let methods = dialect.all_methods().join(", ");
            format!("Use one of {methods}, in capital letters.")
        }
        Some(BadRequest::Namespace) => "Write the namespace in X-Vault-Namespace as segments of letters, digits, `.`, \
             `_`, `~` and `-`, separated by slashes, for example team/dev. No segment begins with a dot."
            .into(),
        Some(BadRequest::TwoNamespaces) => {
            "Write the vault namespace either in X-Vault-Namespace or in the path.".into()
        }
        Some(BadRequest::SeveralTokens) => {
            "Send one header X-Vaultwall-Token, with one token.".into()
        }
        Some(BadRequest::TooLong) => {
            format!("Shorten path and query to {} bytes together.", path::MAX_TARGET)
        }
        Some(BadRequest::ProbeWithBody) => "Send the probe without a body.".into(),
        Some(BadRequest::Target(_)) | None if !dialect.has_flags() => {
            "Send the request in a form with only one meaning: no `;`, no encoded slashes or control characters."
                .into()
        }
        Some(BadRequest::Target(_)) | None => {
            "Send the request in a form with only one meaning: no `;`, no encoded slashes or control characters, query \
             keys without encoding, and the flags `list` and `scan` only as true or false."
                .into()
        }
    }
}

fn by_firewall(denied: &Denied<'_>) -> String {
    let Some(owner) = owner(denied.firewall) else {
        return no_policy(denied.firewall);
    };
    let client = denied.caller.client;
    if is_unknown(&denied.firewall.client_address, client) {
        return format!(
            "Let the trusted proxy {client} send the client's address in X-Forwarded-For (`--client-ip` here). The \
             proxy itself is no client, and a rule for its address would allow everybody behind it."
        );
    }
    let request = match denied.nearest.map(|nearest| &nearest.mismatch) {
        Some(Mismatch::OptIn { namespace }) => format!(
            "a cluster admin to label namespace {namespace} {}: nothing else is missing for the nearest rule",
            opt_in_label()
        ),
        Some(Mismatch::ServiceEndpoint {
            virtual_network,
            subnet,
        }) => format!(
            "the owner of VirtualNetwork {virtual_network} to add Vault to the serviceEndpoints of its subnet \
             {subnet}: nothing else is missing for the nearest rule"
        ),
        _ => format!("{owner} to {}", rule_for(denied)),
    };
    let allowed_on_management = denied.decision.plane.is_some_and(|plane| {
        let management = denied.firewall.management;
        denied.listener == Listener::Data
            && management == ManagementAccess::Unrestricted
            && plane_rule(Listener::Management, denied.firewall, plane)
                == PlaneRule::Always(Reason::ControlPlane)
    });
    let service = unproven(denied);
    if allowed_on_management {
        format!(
            "Send it to the management endpoint, which has no network rules, or ask {request}.{service}"
        )
    } else {
        format!("Ask {request}.{service}")
    }
}

/// Request to a policy's owner: the rule that would allow the caller.
fn rule_for(denied: &Denied<'_>) -> String {
    let Caller { peer, client, .. } = denied.caller;
    if let Some(pod) = denied.pod {
        let and = if pod.namespace_labels.is_some_and(is_opted_in) {
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
        return "give you an IPv4 address of the endpoint: an IPv6 caller matches no rule".into();
    }
    if public_prefix(&client.to_string()).is_ok() {
        return format!("add an entry to spec.ipRules with the value {client}");
    }
    // A rule for a trusted proxy would allow everybody behind it.
    if peer != client {
        return format!(
            "allow you without the proxy {peer}: IP rules take public addresses, and {client} is none. Connect to the \
             endpoint directly, and have your pod or subnet added to spec.virtualNetworkRules"
        );
    }
    format!(
        "add an entry to spec.virtualNetworkRules for a VirtualNetwork subnet whose addressPrefixes contain {peer}"
    )
}

fn owner(firewall: &Firewall) -> Option<String> {
    let policy = firewall.policies.first()?;
    Some(format!(
        "the owner of policy {}/{policy}",
        firewall.vault.namespace
    ))
}

fn no_policy(firewall: &Firewall) -> String {
    format!(
        "No policy of {} is accepted, so every caller is denied: correct the errors that `vaultwall validate` reports \
         for its policies.",
        firewall.vault
    )
}
