//! Validation of rules and subnets: the callers that a policy allows, and the subnets of a `VirtualNetwork`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::{names, selector};
use crate::address::{public_prefix, subnet_prefix};
use crate::api::expires_at::{NO_TIME, seconds};
use crate::api::{self, ServiceEndpoint, VirtualNetwork};
use crate::limits::Limits;
use crate::policy::pod_group::GroupSelector;
use crate::policy::validated::{
    AddressRule, NetworkRule, NetworkRuleSource, PodGroup, SubnetMembers, ValidatedSubnet,
    ValidatedVirtualNetwork,
};
use crate::policy::violation::{Findings, Violation, ViolationReason, quoted};

/// Refuses a list that is longer than the installation allows.
fn limit(field: &str, rules: &str, length: usize, limit: usize, findings: &mut Findings) {
    if length > limit {
        findings.add(
            field,
            ViolationReason::LimitExceeded,
            format!(
                "has {length} {rules} rules, and the limit is {limit}; merge or remove rules, or ask the cluster's \
                 admin for a higher limit"
            ),
        );
    }
}

/// Checks `spec.virtualNetworkRules`.
pub(super) fn virtual_network_rules(
    (namespace, policy): (&str, &str),
    wire: &[api::VirtualNetworkRule],
    limits: &Limits,
    findings: &mut Findings,
) -> Vec<NetworkRule> {
    const LIST: &str = "spec.virtualNetworkRules";
    limit(
        LIST,
        "virtual-network",
        wire.len(),
        limits
            .virtual_network_rules
            .min(Limits::VIRTUAL_NETWORK_RULES_CEILING),
        findings,
    );
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut rules = Vec::new();
    for (index, rule) in wire.iter().enumerate() {
        let field = format!("{LIST}[{index}]");
        if let Some(subnet) = &rule.subnet {
            names::subdomain(
                &format!("{field}.subnet.virtualNetwork"),
                &subnet.virtual_network,
                findings,
            );
            names::label(&format!("{field}.subnet.name"), &subnet.name, findings);
            match seen.entry((&subnet.virtual_network, &subnet.name)) {
                Entry::Vacant(entry) => {
                    entry.insert(index);
                }
                Entry::Occupied(first) => findings.add(
                    format!("{field}.subnet"),
                    ViolationReason::Duplicate,
                    format!(
                        "is the same subnet as in {LIST}[{}]; remove one of the two",
                        first.get()
                    ),
                ),
            }
        }
        let pods = rule
            .pods
            .as_ref()
            .map(|pods| selector::pod_group(&format!("{field}.pods"), pods, findings));
        if rule.ignore_missing_service_endpoint && !limits.ignore_missing_service_endpoint {
            let others = pods.as_ref().filter(|pods| selects_others(pods, namespace));
            if others.is_some() {
                refuse_waiver(&field, namespace, findings);
            }
        }
        let (name, source) = match (&rule.subnet, pods) {
            (Some(subnet), None) => (
                subnet_rule_name(subnet, wire),
                NetworkRuleSource::Subnet {
                    virtual_network: subnet.virtual_network.clone(),
                    subnet: subnet.name.clone(),
                },
            ),
            (None, Some(pods)) => (index.to_string(), NetworkRuleSource::Pods(pods)),
            (given, _) => {
                exactly_one(&field, "subnet", "pods", given.is_some(), findings);
                continue;
            }
        };
        rules.push(NetworkRule {
            rule: Arc::from(format!("{policy}/virtualNetworkRules/{name}")),
            field,
            source,
            ignore_missing_service_endpoint: rule.ignore_missing_service_endpoint,
        });
    }
    rules
}

/// Whether a group can have pods of another namespace than the policy's own.
fn selects_others(pods: &PodGroup, namespace: &str) -> bool {
    GroupSelector::of_rule(pods, namespace, true).only_namespace() != Some(namespace)
}

/// Refuses a rule that waives the consent of the owners of other namespaces.
fn refuse_waiver(field: &str, namespace: &str, findings: &mut Findings) {
    findings.add(
        format!("{field}.ignoreMissingServiceEndpoint"),
        ViolationReason::NotAllowed,
        format!(
            "waives the consent of the owners of other namespaces, which this installation does not allow; remove it, \
             or select pods of the namespace {namespace} alone. The cluster's admin can allow it: \
             allowIgnoreMissingServiceEndpoint in the values of the Helm chart, \
             --allow-ignore-missing-service-endpoint of the program"
        ),
    );
}

/// Returns the name of a subnet's rule: the subnet's name, or `<network>/<subnet>` if the name is not unique in the
/// policy or is a number. Numbers are the names of inline rules.
fn subnet_rule_name(subnet: &api::SubnetRef, rules: &[api::VirtualNetworkRule]) -> String {
    let elsewhere = rules
        .iter()
        .filter_map(|rule| rule.subnet.as_ref())
        .any(|other| other.name == subnet.name && other.virtual_network != subnet.virtual_network);
    if elsewhere || subnet.name.bytes().all(|b| b.is_ascii_digit()) {
        format!("{}/{}", subnet.virtual_network, subnet.name)
    } else {
        subnet.name.clone()
    }
}

fn exactly_one(field: &str, one: &str, other: &str, both: bool, findings: &mut Findings) {
    if both {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!("has both {one} and {other}; exactly one of them is needed"),
        );
    } else {
        findings.add(
            field,
            ViolationReason::Required,
            format!("has neither {one} nor {other}; exactly one of them is needed"),
        );
    }
}

/// Checks `spec.ipRules`.
pub(super) fn ip_rules(
    policy: &str,
    wire: &[api::IpRule],
    most: usize,
    findings: &mut Findings,
) -> Vec<AddressRule> {
    const LIST: &str = "spec.ipRules";
    limit(
        LIST,
        "IP",
        wire.len(),
        most.min(Limits::IP_RULES_CEILING),
        findings,
    );
    let mut prefixes: BTreeMap<Ipv4Net, usize> = BTreeMap::new();
    let mut used_names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rules = Vec::new();
    for (index, rule) in wire.iter().enumerate() {
        let field = format!("{LIST}[{index}]");
        if let Some(name) = &rule.name {
            names::rule(&format!("{field}.name"), name, findings);
        }
        if let Some(name) = rule.name.as_deref().or(rule.value.as_deref()) {
            match used_names.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(index);
                }
                // A value that occurs twice is reported below.
                Entry::Occupied(first)
                    if rule.name.is_none()
                        && wire
                            .get(*first.get())
                            .is_some_and(|other| other.value == rule.value) => {}
                Entry::Occupied(first) => findings.add(
                    format!("{field}.name"),
                    ViolationReason::Duplicate,
                    format!(
                        "{} is already the name of {LIST}[{}]; choose another name",
                        quoted(name),
                        first.get()
                    ),
                ),
            }
        }
        refuse_tags_and_expiry(&field, rule, findings);
        match (&rule.value, &rule.service_tag) {
            (Some(value), tag) => {
                if tag.is_some() {
                    let message = "has both value and serviceTag; remove serviceTag, which is not supported yet";
                    findings.add(&field, ViolationReason::Invalid, message);
                }
                let prefix = match public_prefix(value) {
                    Ok(prefix) => prefix,
                    Err(faults) => {
                        findings.add_faults(&format!("{field}.value"), value, faults);
                        continue;
                    }
                };
                match prefixes.entry(prefix) {
                    Entry::Vacant(entry) => {
                        entry.insert(index);
                    }
                    Entry::Occupied(first) => findings.add(
                        format!("{field}.value"),
                        ViolationReason::Duplicate,
                        format!(
                            "{} is already allowed by {LIST}[{}]; remove one of the two",
                            quoted(value),
                            first.get()
                        ),
                    ),
                }
                let name = rule.name.as_ref().unwrap_or(value);
                rules.push(AddressRule {
                    rule: Arc::from(format!("{policy}/ipRules/{name}")),
                    prefix,
                });
            }
            // `refuse_tags_and_expiry` has refused it.
            (None, Some(_)) => {}
            (None, None) => {
                let message = "has neither value nor serviceTag; write value, because service tags are not \
                               supported yet";
                findings.add(&field, ViolationReason::Required, message);
            }
        }
    }
    rules
}

fn refuse_tags_and_expiry(field: &str, rule: &api::IpRule, findings: &mut Findings) {
    if rule.service_tag.is_some() {
        findings.not_supported_yet(format!("{field}.serviceTag"), "a service tag");
    }
    if rule.cloud.is_some() {
        findings.not_supported_yet(format!("{field}.cloud"), "a service tag's cloud");
    }
    if let Some(text) = &rule.expires_at {
        if seconds(text).is_none() {
            findings.add(
                format!("{field}.expiresAt"),
                ViolationReason::Invalid,
                format!("{} {NO_TIME}", quoted(text)),
            );
        }
        findings.not_supported_yet(format!("{field}.expiresAt"), "a rule that expires");
    }
}

/// Validates a `VirtualNetwork`.
///
/// # Errors
/// All violations, in the order of the fields.
pub fn validate_virtual_network(
    network: &VirtualNetwork,
) -> Result<ValidatedVirtualNetwork, Vec<Violation>> {
    let mut findings = Findings::default();
    let name = names::object_name(&network.metadata, &mut findings);
    if network.metadata.namespace.is_some() {
        findings.add(
            "metadata.namespace",
            ViolationReason::Invalid,
            "a VirtualNetwork is cluster-scoped and has no namespace; remove it",
        );
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut subnets = Vec::new();
    for (index, subnet) in network.spec.subnets.iter().enumerate() {
        let field = format!("spec.subnets[{index}]");
        names::label(&format!("{field}.name"), &subnet.name, &mut findings);
        match seen.entry(&subnet.name) {
            Entry::Vacant(entry) => {
                entry.insert(index);
            }
            Entry::Occupied(first) => findings.add(
                format!("{field}.name"),
                ViolationReason::Duplicate,
                format!(
                    "{} is already the name of spec.subnets[{}]; choose another name",
                    quoted(&subnet.name),
                    first.get()
                ),
            ),
        }
        let Some(members) = members(&field, subnet, &mut findings) else {
            continue;
        };
        subnets.push(ValidatedSubnet {
            name: subnet.name.clone(),
            service_endpoint: subnet.service_endpoints.contains(&ServiceEndpoint::Vault),
            members,
        });
    }
    findings.or_else(ValidatedVirtualNetwork { name, subnets })
}

fn members(field: &str, subnet: &api::Subnet, findings: &mut Findings) -> Option<SubnetMembers> {
    let pods = subnet.pods.as_ref().map(|pods| {
        let path = format!("{field}.pods");
        let group = selector::pod_group(&path, pods, findings);
        // If both selectors are missing, `pod_group` has reported it.
        if pods.namespace_selector.is_none() && pods.pod_selector.is_some() {
            findings.add(
                format!("{path}.namespaceSelector"),
                ViolationReason::Required,
                "is missing; a VirtualNetwork has no namespace of its own ({} selects every namespace)",
            );
        }
        SubnetMembers::Pods(group)
    });
    let prefixes = subnet.address_prefixes.as_ref().map(|list| {
        SubnetMembers::Prefixes(address_prefixes(
            &format!("{field}.addressPrefixes"),
            list,
            findings,
        ))
    });
    match (pods, prefixes) {
        (Some(members), None) | (None, Some(members)) => Some(members),
        (given, _) => {
            exactly_one(field, "pods", "addressPrefixes", given.is_some(), findings);
            None
        }
    }
}

fn address_prefixes(list_field: &str, list: &[String], findings: &mut Findings) -> Vec<Ipv4Net> {
    if list.is_empty() {
        findings.add(
            list_field,
            ViolationReason::Required,
            "is empty; list at least one prefix, or use pods",
        );
    }
    let mut prefixes = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let field = format!("{list_field}[{index}]");
        match subnet_prefix(text) {
            Ok(prefix) if prefixes.contains(&prefix) => findings.add(
                field,
                ViolationReason::Duplicate,
                format!(
                    "{} is already in the list; remove one of the two",
                    quoted(text)
                ),
            ),
            Ok(prefix) => prefixes.push(prefix),
            Err(faults) => findings.add_faults(&field, text, faults),
        }
    }
    prefixes
}
