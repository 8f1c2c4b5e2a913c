//! The schema of our own kinds: every unknown field, wrong type and value that is not in its list is found in one pass,
//! as the API server finds them. Rules beyond the schema belong to validation.
//!
//! An object with such faults is repaired just enough for validation to check the rest of it, so that one typing error
//! does not hide the others. A repaired object is never used.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind as Kind;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::api::{OPERATIONS, custom_resource_definitions};
use crate::policy::{Violation, ViolationReason};
use crate::policy::{field_of, is_supported_field, is_supported_value, quoted, unknown_operation};

/// The compiled schema of one kind.
pub(crate) struct Schema {
    schema: Value,
    validator: Validator,
}

/// A fault of the shape.
pub(crate) struct Fault {
    pub(crate) violation: Violation,
    /// Whether the value was replaced by a neutral one, so that violations of it do not count.
    pub(crate) repaired: bool,
}

/// A change that makes the object readable. The first text is a JSON pointer to the value or to its parent.
enum Repair {
    Replace(String, Value),
    Insert(String, String, Value),
    Remove(String, String),
}

/// The schema of each of our own kinds, by the kind's name; compiled when it is needed for the first time.
static SCHEMAS: LazyLock<BTreeMap<String, (CustomResourceDefinition, OnceLock<Compiled>)>> =
    LazyLock::new(|| {
        let definitions = custom_resource_definitions().into_iter();
        definitions
            .map(|definition| {
                (
                    definition.spec.names.kind.clone(),
                    (definition, OnceLock::new()),
                )
            })
            .collect()
    });

type Compiled = Result<Schema, String>;

/// The schema of one of our own kinds; an error is a defect of this program.
pub(crate) fn schema_of(kind: &str) -> Result<&'static Schema, &'static str> {
    let (definition, compiled) = SCHEMAS.get(kind).ok_or("the kind has no definition")?;
    let compiled = compiled.get_or_init(|| Schema::of(definition));
    compiled.as_ref().map_err(String::as_str)
}

impl Schema {
    fn of(definition: &CustomResourceDefinition) -> Compiled {
        let definition = serde_json::to_value(definition).map_err(|error| error.to_string())?;
        let mut schema = definition
            .pointer("/spec/versions/0/schema/openAPIV3Schema")
            .cloned()
            .ok_or("the definition has no schema")?;
        let metadata = SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<ObjectMeta>();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("apiVersion".into(), json!({"type": "string"}));
            properties.insert("kind".into(), json!({"type": "string"}));
            properties.insert("metadata".into(), metadata.to_value());
            // Written by the operator alone, and never read.
            properties.insert("status".into(), json!({}));
        }
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.push(json!("metadata"));
        }
        close(&mut schema);
        // The OpenAPI dialect of CRDs stems from draft 4; there, 8200.0 is no integer, as for the API server.
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft4)
            .build(&schema)
            .map_err(|error| error.to_string())?;
        Ok(Self { schema, validator })
    }

    /// The schema as JSON.
    pub(crate) fn as_value(&self) -> &Value {
        &self.schema
    }

    /// Finds all faults and repairs the object.
    pub(crate) fn check(&self, object: &mut Value) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut repairs = Vec::new();
        for error in self.validator.iter_errors(object) {
            let place = error.instance_path().as_str();
            let finding = Finding {
                schema: self.subschema(error.schema_path().as_str()),
                value: object.pointer(place).unwrap_or(&Value::Null),
                field: field_path(object, place),
                place,
            };
            finding.judge(&error, &mut faults, &mut repairs);
        }
        for repair in repairs {
            repair.apply(object);
        }
        faults
    }

    /// The schema that holds the keyword at `pointer`.
    fn subschema(&self, pointer: &str) -> &Value {
        let holder = pointer.rsplit_once('/').map_or("", |(holder, _)| holder);
        self.schema.pointer(holder).unwrap_or(&Value::Null)
    }
}

/// An error of the schema, with the parts of a good message.
struct Finding<'a> {
    schema: &'a Value,
    value: &'a Value,
    field: String,
    place: &'a str,
}

impl Finding<'_> {
    fn judge(
        self,
        error: &jsonschema::ValidationError<'_>,
        faults: &mut Vec<Fault>,
        repairs: &mut Vec<Repair>,
    ) {
        let mut report = |field: &str, reason, message: String, repaired| {
            // null is of the wrong type and not in the list, which is one mistake.
            if faults
                .iter()
                .any(|fault: &Fault| fault.repaired && fault.violation.field == field)
            {
                return;
            }
            faults.push(Fault {
                violation: Violation::new(field, reason, message),
                repaired,
            });
        };
        let neutral = || Repair::Replace(self.place.to_owned(), neutral_value(self.schema));
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let message = format!("is not a field here; known are {}", self.known_fields());
                    report(
                        &field_of(&self.field, key),
                        ViolationReason::UnknownField,
                        message,
                        true,
                    );
                    repairs.push(Repair::Remove(self.place.to_owned(), key.clone()));
                }
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                report(
                    &field_of(&self.field, key),
                    ViolationReason::Required,
                    "is missing; write it".into(),
                    true,
                );
                let schema = self
                    .schema
                    .pointer(&format!("/properties/{key}"))
                    .unwrap_or(&Value::Null);
                repairs.push(Repair::Insert(
                    self.place.to_owned(),
                    key.to_owned(),
                    neutral_value(schema),
                ));
            }
            Kind::Type { .. } | Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
                report(
                    &self.field,
                    ViolationReason::WrongType,
                    self.wrong_type(),
                    true,
                );
                repairs.push(neutral());
            }
            Kind::Enum { options } => {
                let known: Vec<&str> = options
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .filter(|value| is_supported_value(&self.field, value))
                    .collect();
                let message = match self.value.as_str() {
                    Some(text) if known == OPERATIONS => {
                        format!("{} {}", shown(self.value), unknown_operation(text))
                    }
                    _ => format!(
                        "{} is not known; write {}",
                        shown(self.value),
                        known.join(" or ")
                    ),
                };
                report(&self.field, ViolationReason::Invalid, message, true);
                repairs.push(neutral());
            }
            Kind::Minimum { limit } | Kind::Maximum { limit } => {
                let limit = whole(limit).map_or_else(|| limit.to_string(), |n| n.to_string());
                let message = format!(
                    "{} is out of range; the limit is {limit}",
                    shown(self.value)
                );
                report(&self.field, ViolationReason::Invalid, message, true);
                repairs.push(neutral());
            }
            _ => {
                let (reason, message) = self.size(error);
                report(&self.field, reason, message, false);
            }
        }
    }

    /// Faults of length, which leave the object readable.
    fn size(&self, error: &jsonschema::ValidationError<'_>) -> (ViolationReason, String) {
        match error.kind() {
            Kind::MaxItems { limit } => {
                let length = self.value.as_array().map_or(0, Vec::len);
                let message = format!("{length} entries, and the limit is {limit}; remove entries");
                (ViolationReason::LimitExceeded, message)
            }
            Kind::MinItems { limit } => {
                let message = format!("has too few entries; at least {limit} needed");
                (ViolationReason::Required, message)
            }
            Kind::MaxLength { limit } => {
                let shown = shown(self.value);
                let message = format!("{shown} is too long; at most {limit} characters are taken");
                (ViolationReason::Invalid, message)
            }
            Kind::MinProperties { .. } => {
                let message = "is empty; write its entries, or leave the field out";
                (ViolationReason::Invalid, message.to_owned())
            }
            Kind::MinLength { .. } => {
                let message = "is empty; write a value, or leave the field out";
                (ViolationReason::Invalid, message.to_owned())
            }
            _ => (ViolationReason::Invalid, error.to_string()),
        }
    }

    fn known_fields(&self) -> String {
        let fields = self.schema.get("properties").and_then(Value::as_object);
        let names: Vec<&str> = fields
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .filter(|name| is_supported_field(&field_of(&self.field, name)))
            .collect();
        names.join(", ")
    }

    fn wrong_type(&self) -> String {
        let needed = match self.schema.get("type") {
            Some(Value::String(name)) => in_words(name),
            _ if self.schema.get("x-kubernetes-int-or-string").is_some() => {
                "a string or a whole number"
            }
            _ if self.schema.get("properties").is_some() => "a string or an object",
            _ => "another type",
        };
        let advice = match (needed, self.value) {
            (
                "a string" | "a string or a whole number" | "a string or an object",
                Value::Bool(_) | Value::Number(_),
            ) => "; put it in quotes",
            (_, Value::Null) => "; give it a value, or leave the field out",
            ("a whole number" | "true or false", Value::String(_)) => "; write it without quotes",
            _ => "",
        };
        format!("is {}, and {needed} is needed{advice}", shown(self.value))
    }
}

impl Repair {
    fn apply(self, object: &mut Value) {
        match self {
            Self::Replace(place, value) => {
                if let Some(found) = object.pointer_mut(&place) {
                    *found = value;
                }
            }
            Self::Insert(place, key, value) => {
                if let Some(Value::Object(found)) = object.pointer_mut(&place) {
                    found.insert(key, value);
                }
            }
            Self::Remove(place, key) => {
                if let Some(Value::Object(found)) = object.pointer_mut(&place) {
                    found.remove(&key);
                }
            }
        }
    }
}

/// Makes the schema refuse fields that it does not name, in every object whose fields it names. A CRD's schema leaves
/// that to the API server, which prunes such fields or, with strict validation, refuses them.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let preserves =
                object.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            // Without a type it is a text or an object with these fields (`api::TrustedProxy`).
            let is_mixed = preserves && !object.contains_key("type");
            let open = preserves && !is_mixed;
            if object.get("properties").is_some_and(Value::is_object) && !open {
                object
                    .entry("additionalProperties")
                    .or_insert(Value::Bool(false));
            }
            if object.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
                object.insert(
                    "anyOf".to_owned(),
                    json!([{"type": "integer"}, {"type": "string"}]),
                );
            }
            if is_mixed {
                object.insert(
                    "anyOf".to_owned(),
                    json!([{"type": "string"}, {"type": "object"}]),
                );
            }
            object.values_mut().for_each(close);
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

/// The smallest value of a schema's type, for a repaired object.
fn neutral_value(schema: &Value) -> Value {
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => json!(""),
        Some("integer" | "number") => schema
            .get("minimum")
            .and_then(whole)
            .map_or(json!(0), |least| json!(least)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        _ => {
            let required = schema.get("required").and_then(Value::as_array);
            let fields: Map<String, Value> = required
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .filter_map(|key| {
                    let schema = schema.pointer(&format!("/properties/{key}"))?;
                    Some((key.to_owned(), neutral_value(schema)))
                })
                .collect();
            Value::Object(fields)
        }
    }
}

/// `/spec/ipRules/3/value` in `object` → `spec.ipRules[3].value`.
fn field_path(object: &Value, pointer: &str) -> String {
    let mut path = String::new();
    let mut place = Some(object);
    for segment in pointer.split('/').skip(1) {
        let key = segment.replace("~1", "/").replace("~0", "~");
        if let Some(Value::Array(list)) = place {
            path = format!("{path}[{key}]");
            place = key.parse::<usize>().ok().and_then(|index| list.get(index));
        } else {
            path = field_of(&path, &key);
            place = place.and_then(|value| value.get(&key));
        }
    }
    path
}

/// A bound of a schema, which the CRD's types keep as a float.
fn whole(bound: &Value) -> Option<i64> {
    bound
        .as_i64()
        .or_else(|| format!("{:.0}", bound.as_f64()?).parse().ok())
}

fn in_words(type_name: &str) -> &'static str {
    match type_name {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        _ => "another type",
    }
}

/// A value, short enough for a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => quoted(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
