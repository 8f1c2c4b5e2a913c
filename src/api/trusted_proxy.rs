//! An entry of `spec.clientAddress.trustedProxies`: a text or an object.
//!
//! A schema of a CRD can describe both only without a `type`, and the API server evaluates no CEL rules there. The
//! rules are in [`super::admission`]; the schema has the shape of the object
//! ([decision 31](../../docs/decisions/0031-trusted-proxies-that-are-pods.md)).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::virtual_network::PodSelector;

/// A trusted proxy, or several.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(untagged)]
pub enum TrustedProxy {
    /// An IPv4 address, `10.0.0.5`, or a range, `10.0.0.0/24`.
    Range(String),
    /// Pods by label.
    Pods(TrustedPods),
}

/// Pods that are trusted proxies.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TrustedPods {
    /// Pods by label. Their namespaces need no label.
    pub pods: PodSelector,
}

impl JsonSchema for TrustedProxy {
    fn schema_name() -> Cow<'static, str> {
        "TrustedProxy".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pods = TrustedPods::json_schema(generator);
        json_schema!({
            "description": "An IPv4 address or range, or an object that selects pods.",
            "x-kubernetes-preserve-unknown-fields": true,
            "maxLength": 43,
            "properties": pods.get("properties"),
            "required": pods.get("required"),
        })
    }
}
