//! Objects as people write them, and the addresses that they are about.

use std::net::Ipv4Addr;

/// In a rule throughout.
pub(crate) const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 10, 0, 1);
/// In no rule ever.
pub(crate) const DENIED: Ipv4Addr = Ipv4Addr::new(127, 20, 0, 1);

/// A policy for the vault, with these virtual-network rules and whatever else.
pub(crate) fn policy(name: &str, rules: &[&str], more: &str) -> String {
    policy_of("openbao", name, rules, more)
}

/// The same for another vault.
pub(crate) fn policy_of(vault: &str, name: &str, rules: &[&str], more: &str) -> String {
    format!(
        "---\napiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: {name}, namespace: \
            vault}}\n\
         spec:\n  targetRef: {{name: {vault}, port: 8200}}\n  vault: {{engines: [{{path: secret, type: KvV2}}]}}\n  \
         virtualNetworkRules: [{}]\n{more}",
        rules.join(", ")
    )
}

/// The rule for a subnet of the network `corp`.
pub(crate) fn subnet(name: &str) -> String {
    format!("{{subnet: {{virtualNetwork: corp, name: {name}}}}}")
}

/// The rule for the pods of all namespaces that opted in, with the label `app: shop`.
pub(crate) const PODS: &str =
    "{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: shop}}}}";

/// The network `corp` with these subnets of prefixes.
pub(crate) fn network(subnets: &[(&str, &[&str])]) -> String {
    let subnets: Vec<_> = subnets
        .iter()
        .map(|(name, prefixes)| {
            let prefixes = prefixes.join(", ");
            format!("{{name: {name}, serviceEndpoints: [Vault], addressPrefixes: [{prefixes}]}}")
        })
        .collect();
    format!(
        "---\napiVersion: vaultwall.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {{name: corp}}\n\
         spec: {{subnets: [{}]}}\n",
        subnets.join(", ")
    )
}

pub(crate) fn namespace(name: &str, opted_in: bool) -> String {
    let labels = if opted_in {
        "vaultwall.dev/service-endpoint: enabled"
    } else {
        ""
    };
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
    )
}

pub(crate) fn pod(name: &str, app: &str, address: Ipv4Addr) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: web, labels: {{app: {app}}}}}\n\
         spec: {{}}\nstatus: {{phase: Running, podIP: {address}}}\n"
    )
}

/// A policy and a network that allow [`ALLOWED`] and these prefixes.
pub(crate) fn allowing(prefixes: &[&str]) -> String {
    let prefixes = [&["127.10.0.1/32"], prefixes].concat();
    [
        policy("main", &[&subnet("fixed")], ""),
        network(&[("fixed", &prefixes)]),
    ]
    .concat()
}
