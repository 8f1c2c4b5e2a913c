//! Validation: from wire types to validated ones. It checks every rule that needs only one object, collects all
//! violations, and refuses fields that this version does not implement. Rules that need other objects are in `resolve`.

mod client_address;
mod dialect;
mod identity;
mod names;
mod network_rules;
mod proxy;
mod selector;
#[cfg(test)]
#[rustfmt::skip] // tables are read by eye
mod tests;
mod trusted_service;
mod vault_paths;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(crate) use names::is_dns_label;
pub use network_rules::validate_virtual_network;
pub(crate) use trusted_service::unknown_operation;
pub use trusted_service::validate_trusted_service;

use super::identity::VaultId;
use super::validated::ValidatedPolicy;
use super::violation::{Findings, Violation, ViolationReason};
use crate::api::{VaultNetworkPolicy, VaultNetworkPolicySpec};
use crate::limits::Limits;

/// Validates a policy.
///
/// # Errors
/// All violations, in the order of the fields.
pub fn validate_policy(
    policy: &VaultNetworkPolicy,
    limits: &Limits,
) -> Result<ValidatedPolicy, Vec<Violation>> {
    let spec = &policy.spec;
    let mut findings = Findings::default();
    let name = names::object_name(&policy.metadata, &mut findings);
    let namespace = namespace(&policy.metadata, &mut findings);
    names::label("spec.targetRef.name", &spec.target_ref.name, &mut findings);
    if spec.target_ref.port == 0 {
        findings.add(
            "spec.targetRef.port",
            ViolationReason::Invalid,
            "0 is not a port; write the port of the Service for the vault's API, for example 8200",
        );
    }
    let (namespaces, engines, auth_mounts) = vault_paths::check(&spec.vault, &mut findings);
    dialect::check(spec, &mut findings);
    refuse_unsupported_fields(spec, &mut findings);
    let virtual_network_rules = network_rules::virtual_network_rules(
        (&namespace, &name),
        &spec.virtual_network_rules,
        limits,
        &mut findings,
    );
    let ip_rules = network_rules::ip_rules(&name, &spec.ip_rules, limits.ip_rules, &mut findings);
    let client_address = client_address::check(&spec.client_address, &mut findings);
    let bypass = trusted_service::bypass(spec, &mut findings);
    let [operators, deployers] =
        trusted_service::management_identities(&spec.management, &mut findings);
    let proxy = proxy::check(spec.proxy.as_ref(), &mut findings);
    findings.or_else(ValidatedPolicy {
        name,
        created: created(&policy.metadata),
        vault: VaultId {
            namespace,
            service: spec.target_ref.name.clone(),
        },
        port: spec.target_ref.port,
        api: spec.vault.api,
        engines,
        auth_mounts,
        namespaces,
        mode: spec.mode,
        default_action: spec.default_action,
        virtual_network_rules,
        ip_rules,
        has_idle_settings: bypass.is_none() && trusted_service::restricts_a_bypass(spec),
        bypass,
        operators,
        deployers,
        proof: spec.trusted_services.clone().unwrap_or_default().proof,
        denial: spec.denial,
        client_address,
        management: spec.management.access,
        token_creation: spec.management.token_creation,
        access_log: spec.access_log.level,
        proxy: Box::new(proxy),
    })
}

fn namespace(metadata: &ObjectMeta, findings: &mut Findings) -> String {
    const FIELD: &str = "metadata.namespace";
    let namespace = metadata.namespace.clone().unwrap_or_default();
    if namespace.is_empty() {
        findings.add(
            FIELD,
            ViolationReason::Required,
            "is missing; write the namespace of the vault's Service",
        );
    } else {
        names::label(FIELD, &namespace, findings);
    }
    namespace
}

/// Returns the creation time as the API server prints it: RFC 3339 in UTC, in whole seconds.
fn created(metadata: &ObjectMeta) -> Option<String> {
    let time = metadata.creation_timestamp.as_ref()?;
    match serde_json::to_value(time) {
        Ok(serde_json::Value::String(text)) => Some(text),
        _ => None,
    }
}

fn refuse_unsupported_fields(spec: &VaultNetworkPolicySpec, findings: &mut Findings) {
    if spec.vault.location.is_some() {
        findings.not_supported_yet("spec.vault.location", "the vault's location");
    }
}
