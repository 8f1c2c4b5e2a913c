//! Plain words such as `no`, which are texts in YAML 1.2 and booleans for kubectl. They are refused, because one file
//! must not have two meanings.

use serde_json::{Value, json};

use crate::api::GROUP;
use crate::policy::{Violation, ViolationReason, field_of, quoted};

/// Plain words that YAML 1.1 reads as booleans and YAML 1.2 as texts, in lower case.
const BOOLEAN_WORDS: [&str; 6] = ["yes", "no", "on", "off", "y", "n"];

/// Whether a document of one of our kinds has a value that kubectl reads as a boolean if it is written without quotes.
pub(crate) fn may_be_ambiguous(document: &Value) -> bool {
    match document {
        Value::String(text) => is_boolean_word(text),
        Value::Array(list) => list.iter().any(may_be_ambiguous),
        Value::Object(object) => {
            let foreign = object
                .get("apiVersion")
                .and_then(Value::as_str)
                .is_some_and(|version| {
                    object.contains_key("kind")
                        && !object.contains_key("items")
                        && !version.starts_with(GROUP)
                });
            !foreign && object.values().any(may_be_ambiguous)
        }
        _ => false,
    }
}

fn is_boolean_word(text: &str) -> bool {
    BOOLEAN_WORDS
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text))
}

/// Finds the values of a document that kubectl reads otherwise; `theirs` is the same document as YAML 1.1 has it.
pub(crate) fn ambiguities(ours: &Value, theirs: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    compare("", ours, theirs, &mut found);
    found
}

fn compare(field: &str, ours: &Value, theirs: &Value, found: &mut Vec<Violation>) {
    match (ours, theirs) {
        (Value::String(text), Value::Bool(meant)) => {
            let message = format!(
                "{} without quotes is the boolean {meant} for kubectl and a text for others; write true or false \
                 where a boolean is meant, and put a text in quotes",
                quoted(text)
            );
            found.push(Violation::new(field, ViolationReason::WrongType, message));
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                compare(
                    &field_of(field, key),
                    value,
                    theirs.get(key).unwrap_or(&json!(null)),
                    found,
                );
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                compare(&format!("{field}[{index}]"), ours, theirs, found);
            }
        }
        _ => {}
    }
}
