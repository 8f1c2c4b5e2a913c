//! The definitions of our kinds, in which null has one reading.
//!
//! For an ordinary field null is the same as no field: the API server removes it before it checks or stores the object,
//! because no field is `nullable`. In a map it would remove the key with its value: `matchLabels: {team: null}` would
//! be stored as `{}`, which selects everything. Therefore values of maps are `nullable`, so that they are kept, and a
//! rule refuses them. `objects::null` does the same for files. The API server evaluates no rule below a value without a
//! type (a trusted proxy); there an admission policy has the rule.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, ValidationRule,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaPropsOrArray as Items, JSONSchemaPropsOrBool as Values,
};
use kube::CustomResourceExt;

use super::status::{
    NETWORK_CONDITIONS, POLICY_CONDITIONS, SERVICE_CONDITIONS, before_the_operator,
};
use super::{TrustedService, VaultNetworkPolicy, VirtualNetwork};

/// Remedy for a cluster without the definitions.
pub const INSTALL_DEFINITIONS: &str = "\
     install the CRDs with their chart: helm upgrade --install vaultwall-crds charts/vaultwall-crds --namespace \
     vaultwall-system --create-namespace; or without Helm: vaultwall crds | kubectl apply --server-side -f -";

/// Returns the definitions of all kinds, sorted by name.
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    let kinds = [
        (TrustedService::crd(), &SERVICE_CONDITIONS[..]),
        (VaultNetworkPolicy::crd(), &POLICY_CONDITIONS[..]),
        (VirtualNetwork::crd(), &NETWORK_CONDITIONS[..]),
    ];
    kinds
        .into_iter()
        .map(|(definition, conditions)| completed(definition, conditions))
        .collect()
}

/// Adds the status before the operator has written one, and the rules about null.
fn completed(
    mut definition: CustomResourceDefinition,
    conditions: &[&str],
) -> CustomResourceDefinition {
    let versions = definition.spec.versions.iter_mut();
    let schemas =
        versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for schema in schemas {
        give_null_one_reading(schema);
        remove_dead_rules(schema, false);
        let fields = schema.properties.as_mut();
        if let Some(status) = fields.and_then(|fields| fields.get_mut("status")) {
            status.default = Some(JSON(before_the_operator(conditions)));
        }
    }
    definition
}

/// Removes the rules in values without a type, which the API server does not evaluate. An admission policy has them.
fn remove_dead_rules(schema: &mut JSONSchemaProps, mut dead: bool) {
    dead |= schema.x_kubernetes_preserve_unknown_fields == Some(true) && schema.type_.is_none();
    if dead {
        schema.x_kubernetes_validations = None;
    }
    for part in parts(schema) {
        remove_dead_rules(part, dead);
    }
}

/// Fields, items and values of a schema.
fn parts(schema: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let fields = schema
        .properties
        .iter_mut()
        .flatten()
        .map(|(_, field)| field);
    let item = match &mut schema.items {
        Some(Items::Schema(item)) => Some(&mut **item),
        _ => None,
    };
    let value = match &mut schema.additional_properties {
        Some(Values::Schema(value)) => Some(&mut **value),
        _ => None,
    };
    fields.chain(item).chain(value)
}

fn give_null_one_reading(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for part in parts(schema) {
        give_null_one_reading(part);
    }
    if let Some(Values::Schema(value)) = &mut schema.additional_properties {
        value.nullable = Some(true);
        schema
            .x_kubernetes_validations
            .get_or_insert_default()
            .push(ValidationRule {
                // CEL itself compares no text with null.
                rule: "self.all(key, dyn(self[key]) != null)".to_owned(),
                message: Some(
                    "has a key without a value (null); write the value, \"\" if it is empty, or remove the key"
                        .to_owned(),
                ),
                ..ValidationRule::default()
            });
    }
}
