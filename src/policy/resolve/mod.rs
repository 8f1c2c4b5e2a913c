//! From the valid policies of one vault to its resolved [`Firewall`], and to what its owners have to be told. Pure.
//!
//! Policies add up. Which of several rules names an address: list order, then the older policy; the most specific
//! prefix is chosen at lookup. A rule that cannot be resolved opens nothing and is named, the others stay in force.

mod admission;
mod settings;
mod sources;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    DefaultAction, Firewall, PodMembership, ProxySettings, ValidatedPolicy,
    ValidatedVirtualNetwork, VaultId, Violation,
};
use crate::limits::Limits;
use sources::PolicySources;
pub use sources::referenced_groups;

/// `VirtualNetwork`s by name.
pub type VirtualNetworks = BTreeMap<String, Arc<ValidatedVirtualNetwork>>;

/// What the policies of one vault come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// What is to be enforced.
    pub firewall: Firewall,
    /// How the proxies are run: the oldest accepted policy says it, as it says the firewall's settings.
    pub proxy: ProxySettings,
    /// Names of the policies that it was made from, oldest first.
    pub accepted: Vec<String>,
    /// Policies that are not accepted; they open nothing.
    pub refused: Vec<RefusedPolicy>,
    /// Rules that open nothing because of what they refer to (`ResolvedRefs=False`), of refused policies too.
    pub unresolved: Vec<Diagnostic>,
    /// Settings that another policy decides (`Conflicted=True`).
    pub conflicts: Vec<Diagnostic>,
    /// What else its owner should know; nothing is refused for it.
    pub warnings: Vec<Diagnostic>,
}

/// A policy that is not accepted, though it is valid by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPolicy {
    /// Name of the policy.
    pub policy: String,
    /// What it breaks.
    pub violation: Violation,
}

/// Why an owner is told something. Written in `CamelCase`, as reasons of Kubernetes conditions are. Of those in
/// [`Resolution::unresolved`] the gravest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiagnosticReason {
    /// A rule names a `VirtualNetwork` that does not exist, or is invalid and never was valid.
    VirtualNetworkNotFound,
    /// A rule names a subnet that its `VirtualNetwork` does not have.
    SubnetNotFound,
    /// The owner of a subnet has not enabled the vault's service endpoint.
    ServiceEndpointMissing,
    /// No namespace that an inline rule selects has opted in.
    NotOptedIn,
    /// Another policy decides a setting.
    SettingsDiffer,
    /// An address is claimed by pods of which a rule selects only some.
    AddressContested,
    /// `Allow` is overruled by a `Deny`.
    DefaultActionOverruled,
}

/// A word to the owner of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Name of the policy.
    pub policy: String,
    /// Why, for programs.
    pub reason: DiagnosticReason,
    /// Field path in it.
    pub field: String,
    /// What is so, and what to do.
    pub message: String,
}

/// Everything that resolution looks at.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, M> {
    /// The vault.
    pub vault: &'a VaultId,
    /// Port of the firewall when no policy is accepted; otherwise the oldest accepted policy says it.
    pub port: u16,
    /// The vault's policies, in any order.
    pub policies: &'a [Arc<ValidatedPolicy>],
    /// Names of policies of this vault that cannot be read, and whose intent is therefore not known. Each counts as
    /// `defaultAction: Deny`: a mistake must not open a vault.
    pub unreadable: &'a [String],
    /// The valid `VirtualNetwork`s.
    pub virtual_networks: &'a VirtualNetworks,
    /// Who is in a group of pods.
    pub membership: &'a M,
    /// Most rules of one vault, added up.
    pub limits: &'a Limits,
}

/// Resolves one vault. Without an accepted policy the firewall denies everything.
pub fn resolve<M: PodMembership>(inputs: &Inputs<'_, M>) -> Resolution {
    let mut oldest_first: Vec<&ValidatedPolicy> =
        inputs.policies.iter().map(AsRef::as_ref).collect();
    oldest_first.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));

    let mut unresolved = Vec::new();
    let mut warnings = Vec::new();
    let all: Vec<PolicySources<'_>> = oldest_first
        .iter()
        .map(|policy| PolicySources::find(policy, inputs, &mut unresolved, &mut warnings))
        .collect();
    let denied_by = denied_by(&oldest_first, inputs.unreadable);
    let default_action = if denied_by.is_some() {
        DefaultAction::Deny
    } else {
        DefaultAction::Allow
    };
    let (accepted, refused) = admission::admit(inputs.vault, default_action, all, inputs.limits);
    let policies: Vec<&ValidatedPolicy> = accepted.iter().map(|sources| sources.policy).collect();

    let mut firewall = Firewall::deny_all(inputs.vault.clone(), inputs.port);
    let mut proxy = ProxySettings::default();
    let mut conflicts = Vec::new();
    if let Some(oldest) = policies.first() {
        settings::take(&mut firewall, oldest);
        proxy = (*oldest.proxy).clone();
        conflicts = settings::conflicts(&policies);
        let sources = sources::merge(&accepted);
        firewall.virtual_networks = sources.virtual_networks;
        firewall.ip_rules = sources.ip_rules;
        firewall.peers = sources.peers;
        firewall.default_action = default_action;
        warnings.extend(
            denied_by
                .iter()
                .flat_map(|cause| overruled(&policies, cause)),
        );
    }
    firewall.policies = policies.iter().map(|policy| policy.name.clone()).collect();
    Resolution {
        accepted: firewall.policies.clone(),
        firewall,
        proxy,
        refused,
        unresolved,
        conflicts,
        warnings,
    }
}

/// Why the default action is `Deny`, if it is: `Deny` wins. Policies that are refused, or cannot be read, open nothing,
/// but their `Deny` counts: otherwise a mistake in the one policy that denies would open the vault.
fn denied_by(policies: &[&ValidatedPolicy], unreadable: &[String]) -> Option<String> {
    let denying = policies
        .iter()
        .find(|policy| policy.default_action == DefaultAction::Deny);
    match (denying, unreadable.first()) {
        (Some(policy), _) => Some(format!("the policy `{}` says `Deny`", policy.name)),
        (None, Some(name)) => Some(format!(
            "the policy `{name}` of the same vault is invalid and may mean `Deny`"
        )),
        (None, None) => None,
    }
}

/// A word to those that say `Allow` in vain.
fn overruled(accepted: &[&ValidatedPolicy], cause: &str) -> impl Iterator<Item = Diagnostic> {
    let allowing = accepted
        .iter()
        .filter(|policy| policy.default_action == DefaultAction::Allow);
    allowing.map(move |policy| Diagnostic {
        policy: policy.name.clone(),
        reason: DiagnosticReason::DefaultActionOverruled,
        field: "spec.defaultAction".to_owned(),
        message: format!("`Allow` is not in force because {cause}; the stricter one wins"),
    })
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
