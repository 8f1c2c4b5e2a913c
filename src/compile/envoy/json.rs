//! Envoy's messages as JSON, with every `Any` expanded: for readers, golden files and `envoy --mode validate`.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde::Serialize;
use serde_json::{Map, Value};

use super::configuration::Configuration;
use super::wire::type_url;

/// Reasons why a message has no JSON.
#[derive(thiserror::Error, Debug)]
pub enum JsonError {
    /// The embedded descriptors do not contain the message of this name.
    #[error("no descriptor of {0}; run `make generate`")]
    Unknown(String),
    /// The encoded message does not match its descriptor.
    #[error("message does not fit its descriptor: {0}")]
    Decode(#[from] prost_reflect::prost::DecodeError),
    /// The message holds a value that JSON cannot express.
    #[error("message has no JSON form: {0}")]
    Serialize(#[from] serde_json::Error),
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let descriptors: &[u8] = include_bytes!("descriptors.binpb");
    DescriptorPool::decode(descriptors).unwrap_or_default()
});

/// A message as JSON: proto field names, keys sorted.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    let name = M::full_name();
    let descriptor = POOL
        .get_message_by_name(&name)
        .ok_or(JsonError::Unknown(name))?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    Ok(sorted(message.serialize_with_options(
        serde_json::value::Serializer,
        &options,
    )?))
}

/// A [`Configuration`] as JSON: its resources, each with its `@type`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigurationJson {
    /// Clusters, for CDS.
    pub clusters: Vec<Value>,
    /// Listeners, for LDS.
    pub listeners: Vec<Value>,
    /// Route configurations, for RDS.
    pub routes: Vec<Value>,
    /// Configurations of HTTP filters, for ECDS.
    pub extensions: Vec<Value>,
}

impl ConfigurationJson {
    /// Converts a configuration; the order of its resources stays the same.
    pub fn of(configuration: &Configuration) -> Result<Self, JsonError> {
        Ok(Self {
            clusters: resources(&configuration.clusters)?,
            listeners: resources(&configuration.listeners)?,
            routes: resources(&configuration.routes)?,
            extensions: resources(&configuration.extensions)?,
        })
    }

    /// The resources by the name of their kind, in the sending order that Envoy's documentation recommends.
    pub fn kinds(&self) -> [(&'static str, &[Value]); 4] {
        [
            ("clusters", &self.clusters),
            ("listeners", &self.listeners),
            ("routes", &self.routes),
            ("extensions", &self.extensions),
        ]
    }
}

fn resources<M: Message + Name>(messages: &[M]) -> Result<Vec<Value>, JsonError> {
    messages
        .iter()
        .map(|message| {
            let mut resource = Map::new();
            resource.insert("@type".to_owned(), type_url::<M>().into());
            if let Value::Object(fields) = to_json(message)? {
                resource.extend(fields);
            }
            Ok(Value::Object(resource))
        })
        .collect()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        value => value,
    }
}
