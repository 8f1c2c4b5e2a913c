//! Schemas of Kubernetes types that our kinds contain. They get bounds, so that the API server can estimate the cost of
//! the rules that read them, and descriptions of one paragraph. This module must not change the meaning of a value.

use kube::core::Rule;
use schemars::Schema;
use serde_json::{Map, Value, json};

use super::rules::RULES;
use crate::limits::{MAX_ANNOTATION_LENGTH, MAX_SERVICE_ANNOTATIONS};

/// Largest number of requirements, and of labels, of one label selector. The API server needs bounds to estimate costs.
const SELECTOR_ENTRIES: u64 = 50;
/// Largest number of values of one requirement.
const REQUIREMENT_VALUES: u64 = 100;
/// Largest number of requests, and of limits, of compute resources; three are known.
const RESOURCE_ENTRIES: u64 = 10;
/// Longest label key: a DNS name of 253 characters, a slash, a name of 63.
const LABEL_KEY_LENGTH: u64 = 317;
/// Longest message of a condition, in characters, as `metav1.Condition` defines.
pub const MESSAGE_LENGTH: usize = 32768;
/// Longest label value, in characters.
const LABEL_VALUE_LENGTH: u64 = 63;

/// Schema of a label selector: it has bounds, and the checks that Kubernetes makes for a `NetworkPolicy`.
pub(super) fn label_selector(schema: &mut Schema) {
    schema
        .ensure_object()
        .values_mut()
        .for_each(bound_selectors);
    bound_selector(schema.ensure_object());
}

/// Sets the bounds of a selector inside the alternatives that make it optional.
fn bound_selectors(value: &mut Value) {
    match value {
        Value::Object(object) => {
            bound_selector(object);
            object.values_mut().for_each(bound_selectors);
        }
        Value::Array(values) => values.iter_mut().for_each(bound_selectors),
        _ => {}
    }
}

fn bound_selector(object: &mut Map<String, Value>) {
    if let Some(Value::Object(fields)) = object.get_mut("properties")
        && fields.contains_key("matchExpressions")
    {
        fields.insert("matchLabels".to_owned(), match_labels());
        fields.insert("matchExpressions".to_owned(), match_expressions());
    }
}

/// Labels of a selector. An empty map is refused: without any label it would select everything, and `kubectl apply`
/// sends one in place of `{team: null}`.
fn match_labels() -> Value {
    json!({
        "description": "Labels that the object must have, with these values.",
        "type": "object",
        "minProperties": 1,
        "maxProperties": SELECTOR_ENTRIES,
        "additionalProperties": {"type": "string", "maxLength": LABEL_VALUE_LENGTH},
    })
}

fn match_expressions() -> Value {
    json!({
        "description": "Requirements that must all hold.",
        "type": "array",
        "maxItems": SELECTOR_ENTRIES,
        "items": {
            "description": "A requirement on one label.",
            "type": "object",
            "required": ["key", "operator"],
            "properties": {
                "key": {
                    "description": "Key of the label.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": LABEL_KEY_LENGTH,
                },
                "operator": {
                    "description": "How the label's value relates to `values`.",
                    "type": "string",
                    "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                },
                "values": {
                    "description": "Values: at least one for `In` and `NotIn`, none for `Exists` and `DoesNotExist`.",
                    "type": "array",
                    "maxItems": REQUIREMENT_VALUES,
                    "items": {"type": "string", "maxLength": LABEL_VALUE_LENGTH},
                },
            },
            RULES: [
                Rule::new("!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)")
                    .message("In and NotIn need at least one value"),
                Rule::new("self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0")
                    .message("Exists and DoesNotExist take no values; remove them"),
            ],
        },
    })
}

/// Schema of a list of conditions, with the bounds of `metav1.Condition`. It is a list of type `map` with the key
/// `type`, so that several field managers can each own their conditions.
pub(super) fn conditions(schema: &mut Schema) {
    first_paragraphs(schema);
    let object = schema.ensure_object();
    object.insert("x-kubernetes-list-type".to_owned(), json!("map"));
    object.insert("x-kubernetes-list-map-keys".to_owned(), json!(["type"]));
    let Some(fields) = object
        .get_mut("items")
        .and_then(|item| item.get_mut("properties"))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (name, bounds) in [
        ("type", json!({"minLength": 1, "maxLength": 316})),
        ("status", json!({"enum": ["True", "False", "Unknown"]})),
        ("reason", json!({"minLength": 1, "maxLength": 1024})),
        ("message", json!({"maxLength": MESSAGE_LENGTH})),
        ("lastTransitionTime", json!({"maxLength": 40})),
    ] {
        if let (Some(Value::Object(field)), Value::Object(bounds)) = (fields.get_mut(name), bounds)
        {
            field.extend(bounds);
        }
    }
}

/// Schema of annotations, with bounds that stay below the API server's limit for all annotations of an object.
pub(super) fn annotations(schema: &mut Schema) {
    let object = schema.ensure_object();
    object.insert("maxProperties".to_owned(), json!(MAX_SERVICE_ANNOTATIONS));
    object.insert(
        "additionalProperties".to_owned(),
        json!({"type": "string", "maxLength": MAX_ANNOTATION_LENGTH}),
    );
}

/// Schema of compute resources, with bounds.
pub(super) fn resources(schema: &mut Schema) {
    first_paragraphs(schema);
    schema.ensure_object().values_mut().for_each(bound_amounts);
}

/// Sets the bounds of amounts inside the alternatives that make them optional.
fn bound_amounts(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.contains_key("additionalProperties") {
                object.insert("maxProperties".to_owned(), json!(RESOURCE_ENTRIES));
            }
            object.values_mut().for_each(bound_amounts);
        }
        Value::Array(values) => values.iter_mut().for_each(bound_amounts),
        _ => {}
    }
}

/// Schema of any Kubernetes type, with only the first paragraph of each description.
pub(super) fn first_paragraphs(schema: &mut Schema) {
    schema.ensure_object().values_mut().for_each(shorten);
}

fn shorten(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("description")
                && let Some((first, _)) = text.split_once("\n\n")
            {
                *text = first.to_owned();
            }
            object.values_mut().for_each(shorten);
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        _ => {}
    }
}
