//! Null in our own kinds: a field that is null is absent, as for the API server, which removes it before it checks or
//! stores an object. A null in a map or in a list stays, so that the schema refuses it; see `api::definitions`.

use serde_json::Value;

/// Removes the fields that are null, of the fields that the schema names.
pub(crate) fn remove_null_fields(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            let fields = schema.get("properties").and_then(Value::as_object);
            object.retain(|key, value| {
                !value.is_null() || fields.is_none_or(|fields| !fields.contains_key(key))
            });
            for (key, value) in object {
                let field = fields.and_then(|fields| fields.get(key));
                if let Some(schema) = field.or_else(|| schema.get("additionalProperties")) {
                    remove_null_fields(value, schema);
                }
            }
        }
        Value::Array(list) => {
            if let Some(item) = schema.get("items") {
                for value in list {
                    remove_null_fields(value, item);
                }
            }
        }
        _ => {}
    }
}
