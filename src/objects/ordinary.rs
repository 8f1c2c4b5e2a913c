//! Kinds of Kubernetes itself: objects become facts, and everything that no firewall needs is dropped.

use kube::Resource;
use serde_json::Value;

use super::contents::Refused;
use super::decode::{Decode, Source, Stored, key_of};
use crate::index::{FactError, Key};
use crate::limits::Limits;
use crate::policy::{Violation, ViolationReason};

/// Source of the kinds of Kubernetes itself. A watch decodes them to their own types: the API server sends no other.
pub struct Ordinary;

impl Source for Ordinary {
    type Sent<K: Stored> = K;

    fn resource<K: Stored>() -> <K as Resource>::DynamicType {}

    fn status<K: Stored>(_: &K) -> Option<Value> {
        None
    }

    fn decode_sent<D: Decode>(sent: D::Stored, limits: &Limits) -> Result<D, Refused> {
        D::decode(&sent, limits).map_err(refused)
    }

    fn decode_document<D: Decode>(
        document: Value,
        ambiguous: Vec<Violation>,
        limits: &Limits,
    ) -> (Option<Key>, Result<D, Refused>) {
        let key = key_of::<D>(&document);
        if !ambiguous.is_empty() {
            return (key, Err(refused(ambiguous)));
        }
        let stored = serde_path_to_error::deserialize(document).map_err(|error| {
            let field = error.path().to_string();
            let message = format!("{}; write it as `kubectl get -o yaml` does", error.inner());
            let field = field.trim_start_matches('.');
            refused(vec![Violation::new(
                field,
                ViolationReason::WrongType,
                message,
            )])
        });
        let object = stored.and_then(|stored| Self::decode_sent::<D>(stored, limits));
        (key, object)
    }
}

/// Returns the violation of an object that cannot be converted to a fact.
pub(crate) fn not_a_fact(error: FactError) -> Vec<Violation> {
    vec![Violation::new(
        &error.field,
        ViolationReason::Invalid,
        error.message,
    )]
}

fn refused(violations: Vec<Violation>) -> Refused {
    Refused {
        violations,
        fallback: None,
    }
}
