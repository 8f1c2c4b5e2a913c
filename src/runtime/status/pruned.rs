//! Fields of a status that the API server did not store: the installed CRD does not have them, so it is older than the
//! program. The API server answers such a PUT with a success.

use serde::Serialize;
use serde_json::Value;

/// Returns the paths of fields that were sent and are not stored, such as `status.addresses`. Entries of lists are
/// compared by their position.
pub(crate) fn pruned_fields<S: Serialize>(sent: &S, stored: Option<&S>) -> Vec<String> {
    let value = |status| serde_json::to_value(status).unwrap_or_default();
    let mut fields = Vec::new();
    collect("status", &value(Some(sent)), &value(stored), &mut fields);
    fields.sort();
    fields.dedup();
    fields
}

fn collect(path: &str, sent: &Value, stored: &Value, fields: &mut Vec<String>) {
    match (sent, stored) {
        (_, Value::Null) if !sent.is_null() => fields.push(path.to_owned()),
        (Value::Object(sent), Value::Object(stored)) => {
            for (name, value) in sent {
                let found = stored.get(name).unwrap_or(&Value::Null);
                collect(&format!("{path}.{name}"), value, found, fields);
            }
        }
        (Value::Array(sent), Value::Array(stored)) => {
            for (value, found) in sent.iter().zip(stored) {
                collect(path, value, found, fields);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_are_not_stored_are_named_once() {
        let sent = json!({"a": 1, "b": {"c": "x", "d": null}, "list": [{"e": 1, "f": 2}, {"e": 3, "f": 4}]});
        let stored = json!({"a": 2, "b": {}, "list": [{"e": 1}, {"e": 3}]});
        assert_eq!(
            pruned_fields(&sent, Some(&stored)),
            ["status.b.c", "status.list.f"]
        );
        assert_eq!(pruned_fields(&sent, Some(&sent)), Vec::<String>::new());
        assert_eq!(pruned_fields(&sent, None), ["status"]);
    }
}
