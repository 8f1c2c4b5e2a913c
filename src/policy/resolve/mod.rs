//! Resolution: from the valid policies of one vault to its [`Firewall`], and diagnostics for the policies' owners.
//! Pure.
//!
//! The rules of all policies apply together. If several rules have the same prefix, the place in the list decides which
//! of them is reported, then the age of the policy; the longest prefix is chosen at lookup. A rule that cannot be
//! resolved allows nothing and is reported; the other rules stay in force.

mod admission;
mod diagnostic;
mod dropped;
mod found;
mod grants;
mod inputs;
mod proxies;
mod settings;
mod sources;
mod tokens;

use crate::api::DefaultAction;
use crate::policy::identity::VaultId;
use crate::policy::model::Firewall;
use crate::policy::pod_group::PodMembership;
use crate::policy::proxy_settings::ProxySettings;
use crate::policy::validated::ValidatedPolicy;

pub use admission::RefusedPolicy;
pub use diagnostic::{Diagnostic, DiagnosticReason};
use found::Found;
pub use grants::{accounts_of_identity, referenced_accounts, referenced_identities};
pub use inputs::{Inputs, TrustedServices, VirtualNetworks};
use proxies::ListedProxies;
pub use proxies::referenced_ranges;
use sources::PolicySources;
pub use sources::referenced_groups;

/// Result of resolution for one vault.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// The firewall to enforce.
    pub firewall: Firewall,
    /// Settings of the proxies, from the oldest accepted policy, like the settings of the firewall.
    pub proxy: ProxySettings,
    /// Names of the accepted policies, oldest first.
    pub accepted: Vec<String>,
    /// Policies that are not accepted; their rules allow nothing.
    pub refused: Vec<RefusedPolicy>,
    /// Rules that allow nothing because of an object that they refer to (`ResolvedRefs=False`). Rules of refused
    /// policies are included.
    pub unresolved: Vec<Diagnostic>,
    /// Settings that do not apply, because the oldest policy has other values (`Conflicted=True`).
    pub conflicts: Vec<Diagnostic>,
    /// Other diagnostics, which become warnings in the status and change no condition.
    pub warnings: Vec<Diagnostic>,
    /// Warnings that depend on pods of other namespaces. They must not be written to a status: whether there are such
    /// pods is not for the policy's owner, who chooses the selectors and ranges.
    pub about_others: Vec<Diagnostic>,
}

impl Resolution {
    /// The resolution of a vault without policies: [`Firewall::deny_all`] with default proxies.
    pub fn deny_all(vault: VaultId, port: u16) -> Self {
        Self {
            firewall: Firewall::deny_all(vault, port),
            proxy: ProxySettings::default(),
            accepted: Vec::new(),
            refused: Vec::new(),
            unresolved: Vec::new(),
            conflicts: Vec::new(),
            warnings: Vec::new(),
            about_others: Vec::new(),
        }
    }

    /// All diagnostics: unresolved rules, then conflicts, then warnings. They are for readers who may see the objects
    /// of others.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.unresolved
            .iter()
            .chain(&self.conflicts)
            .chain(&self.warnings)
            .chain(&self.about_others)
    }
}

/// Resolves the policies of one vault. Without an accepted policy, the firewall denies everything.
pub fn resolve<M: PodMembership>(inputs: &Inputs<'_, M>) -> Resolution {
    let mut oldest_first: Vec<&ValidatedPolicy> =
        inputs.policies.iter().map(AsRef::as_ref).collect();
    oldest_first.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));

    let mut found = Found::default();
    let all: Vec<PolicySources<'_>> = oldest_first
        .iter()
        .map(|policy| PolicySources::find(policy, inputs, &mut found))
        .collect();
    let cause_of_deny = cause_of_deny(&oldest_first, inputs.unreadable);
    let default_action = if cause_of_deny.is_some() {
        DefaultAction::Deny
    } else {
        DefaultAction::Allow
    };
    let (accepted, refused) = admission::admit(inputs.vault, default_action, all, inputs.limits);
    let policies: Vec<&ValidatedPolicy> = accepted.iter().map(|sources| sources.policy).collect();

    let mut firewall = Firewall {
        api: inputs.api,
        ..Firewall::deny_all(inputs.vault.clone(), inputs.port)
    };
    let mut proxy = ProxySettings::default();
    let mut conflicts = Vec::new();
    if let Some(oldest) = policies.first() {
        settings::apply(&mut firewall, oldest);
        firewall.client_address = proxies::client_address(oldest, inputs, &mut found);
        let proxies = ListedProxies::of(oldest, inputs);
        let drops = dropped::applies(oldest, default_action, inputs);
        let reachable = |identity: &_| !drops || dropped::selects(identity, inputs);
        firewall.grants = grants::grants(&policies, &reachable, inputs, &proxies, &mut found);
        if drops {
            firewall.service_peers = dropped::service_peers(&firewall.grants, inputs);
            let warnings = policies.iter();
            let warnings = warnings.filter_map(|policy| dropped::report(policy, inputs));
            found.warnings.extend(warnings);
        }
        firewall.tokens = tokens::rules(&policies, &firewall.grants, inputs, &proxies, &mut found);
        proxy = (*oldest.proxy).clone();
        conflicts = settings::conflicts(&policies);
        firewall.mode = settings::mode(&policies, &mut conflicts, &mut found.warnings);
        found.warnings.extend(settings::idle(&policies));
        let sources = sources::merge(&accepted);
        firewall.virtual_networks = sources.virtual_networks;
        firewall.ip_rules = sources.ip_rules;
        firewall.peers = sources.peers;
        firewall.default_action = default_action;
        found.warnings.extend(
            cause_of_deny
                .iter()
                .flat_map(|cause| overruled(&policies, cause)),
        );
    }
    let Found {
        unresolved,
        warnings,
        about_others,
    } = found;
    firewall.policies = policies.iter().map(|policy| policy.name.clone()).collect();
    Resolution {
        accepted: firewall.policies.clone(),
        firewall,
        proxy,
        refused,
        unresolved,
        conflicts,
        warnings,
        about_others,
    }
}

/// Returns the cause if the default action is `Deny`; one policy with `Deny` is enough.
///
/// Policies that are refused or cannot be read allow nothing, but their `Deny` counts. Otherwise a mistake in the only
/// policy with `Deny` would open the vault.
fn cause_of_deny(policies: &[&ValidatedPolicy], unreadable: &[String]) -> Option<String> {
    let denying = policies
        .iter()
        .find(|policy| policy.default_action == DefaultAction::Deny);
    match (denying, unreadable.first()) {
        (Some(policy), _) => Some(format!("the policy `{}` has `Deny`", policy.name)),
        (None, Some(name)) => Some(format!(
            "the policy `{name}` of the same vault is invalid and could require `Deny`"
        )),
        (None, None) => None,
    }
}

/// Diagnostics for the policies whose `Allow` does not apply.
fn overruled(accepted: &[&ValidatedPolicy], cause: &str) -> impl Iterator<Item = Diagnostic> {
    let allowing = accepted
        .iter()
        .filter(|policy| policy.default_action == DefaultAction::Allow);
    allowing.map(move |policy| Diagnostic {
        policy: policy.name.clone(),
        reason: DiagnosticReason::DefaultActionOverruled,
        field: "spec.defaultAction".to_owned(),
        message: format!(
            "`Allow` is not in force because {cause}; the stricter default action applies"
        ),
        detail: String::new(),
    })
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
