//! Validation of a `TrustedService`, and of the fields with which a policy lets such services in.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use super::identity::{Issuers, identities};
use super::names;
use crate::api::{
    Bypass, Identity, Management, OPERATIONS, Scenario, TrustedService, VaultNetworkPolicySpec,
};
use crate::policy::near::nearest_names;
use crate::policy::trusted_service::{ServiceIdentity, ValidatedScenario, ValidatedTrustedService};
use crate::policy::validated::BypassSettings;
use crate::policy::violation::{Findings, Violation, ViolationReason, quoted};

/// Validates a `TrustedService`.
///
/// # Errors
/// All violations, in the order of the fields.
pub fn validate_trusted_service(
    service: &TrustedService,
) -> Result<ValidatedTrustedService, Vec<Violation>> {
    let mut findings = Findings::default();
    let name = names::object_name(&service.metadata, &mut findings);
    if service.metadata.namespace.is_some() {
        findings.add(
            "metadata.namespace",
            ViolationReason::Invalid,
            "a TrustedService is cluster-scoped and has no namespace; remove it",
        );
    }
    let display_name = service.spec.display_name.as_deref().unwrap_or_default();
    if display_name.chars().any(char::is_control) {
        findings.add(
            "spec.displayName",
            ViolationReason::Invalid,
            format!(
                "{} has control characters; remove them",
                quoted(display_name)
            ),
        );
    }
    let scenarios = scenarios(&service.spec.scenarios, &mut findings);
    let identities = identities(
        "spec.identities",
        &service.spec.identities,
        &mut Issuers::default(),
        &mut findings,
    );
    findings.or_else(ValidatedTrustedService {
        name: name.into(),
        scenarios,
        identities,
    })
}

fn scenarios(wire: &[Scenario], findings: &mut Findings) -> Vec<ValidatedScenario> {
    const LIST: &str = "spec.scenarios";
    if wire.is_empty() {
        findings.add(
            LIST,
            ViolationReason::Required,
            "is empty; list the scenarios that the service is trusted for, each with its operations",
        );
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut valid = Vec::new();
    for (index, scenario) in wire.iter().enumerate() {
        let field = format!("{LIST}[{index}]");
        names::label(&format!("{field}.name"), &scenario.name, findings);
        match seen.entry(&scenario.name) {
            Entry::Vacant(entry) => {
                entry.insert(index);
            }
            Entry::Occupied(first) => findings.add(
                format!("{field}.name"),
                ViolationReason::Duplicate,
                format!(
                    "{} is already the name of {LIST}[{}]; choose another name",
                    quoted(&scenario.name),
                    first.get()
                ),
            ),
        }
        valid.push(ValidatedScenario {
            name: scenario.name.clone(),
            operations: operations(
                &format!("{field}.operations"),
                &scenario.operations,
                findings,
            ),
        });
    }
    valid
}

fn operations(field: &str, wire: &[String], findings: &mut Findings) -> BTreeSet<String> {
    if wire.is_empty() {
        findings.add(
            field,
            ViolationReason::Required,
            "is empty; list at least one operation, for example secrets/get",
        );
    }
    let mut operations = BTreeSet::new();
    for (index, operation) in wire.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if !OPERATIONS.contains(&operation.as_str()) {
            let message = format!("{} {}", quoted(operation), unknown_operation(operation));
            findings.add(field, ViolationReason::Invalid, message);
        } else if !operations.insert(operation.clone()) {
            let message = format!(
                "{} is already in the list; remove one of the two",
                quoted(operation)
            );
            findings.add(field, ViolationReason::Duplicate, message);
        }
    }
    operations
}

/// Rest of the message about a text that is no operation: the operations that it is like.
pub(crate) fn unknown_operation(text: &str) -> String {
    let near = nearest_names(text, &OPERATIONS);
    if near.is_empty() {
        "is not an operation; write one of Azure Key Vault, for example secrets/get: docs/reference/trustedservice.md \
         lists them"
            .to_owned()
    } else {
        format!("is not an operation; did you mean {}?", near.join(" or "))
    }
}

/// Checks `spec.bypass` and `spec.trustedServices`.
pub(super) fn bypass(
    spec: &VaultNetworkPolicySpec,
    findings: &mut Findings,
) -> Option<BypassSettings> {
    const FIELD: &str = "spec.trustedServices";
    let settings = spec.trusted_services.as_ref();
    let names = settings
        .and_then(|settings| settings.names.as_ref())
        .map(|names| service_names(&format!("{FIELD}.names"), names, findings));
    if spec.bypass == Bypass::TrustedServices {
        return Some(BypassSettings { names });
    }
    None
}

/// Whether `spec.trustedServices` has settings that need a bypass. Without one, they are no violation: otherwise, if an
/// owner only sets `bypass: None`, that would be rejected and the earlier bypass would stay in force.
pub(super) fn restricts_a_bypass(spec: &VaultNetworkPolicySpec) -> bool {
    let settings = spec.trusted_services.as_ref();
    let Management {
        operators,
        deployers,
        ..
    } = &spec.management;
    settings.is_some_and(|settings| {
        settings.names.is_some() || (operators.is_empty() && deployers.is_empty())
    })
}

fn service_names(field: &str, wire: &[String], findings: &mut Findings) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, name) in wire.iter().enumerate() {
        let field = format!("{field}[{index}]");
        names::subdomain(&field, name, findings);
        if !names.insert(name.clone()) {
            let message = format!(
                "{} is already in the list; remove one of the two",
                quoted(name)
            );
            findings.add(field, ViolationReason::Duplicate, message);
        }
    }
    names
}

/// Checks the identities of `spec.management`: operators and deployers.
pub(super) fn management_identities(
    management: &Management,
    findings: &mut Findings,
) -> [Vec<ServiceIdentity>; 2] {
    let mut issuers = Issuers::default();
    [
        ("spec.management.operators", &management.operators),
        ("spec.management.deployers", &management.deployers),
    ]
    .map(|(field, wire)| {
        refuse_urls(field, wire, findings);
        identities(field, wire, &mut issuers, findings)
    })
}

/// Refuses URLs of keys in a policy: its owner could send requests of the operator to addresses that only the operator
/// reaches. A trusted service has another owner.
fn refuse_urls(field: &str, wire: &[Identity], findings: &mut Findings) {
    for (index, identity) in wire.iter().enumerate() {
        let credential = identity.federated_credential.as_ref();
        if credential.is_some_and(|credential| credential.jwks_uri.is_some()) {
            findings.add(
                format!("{field}[{index}].federatedCredential.jwksUri"),
                ViolationReason::Invalid,
                "is possible in a TrustedService only, whose owner decides which addresses the operator connects to; \
                 write the issuer's keys in jwks",
            );
        }
    }
}
