//! Envoy's messages as JSON, with every `Any` expanded: for people, golden files and `envoy --mode validate`.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// Why a message could not be printed.
#[derive(thiserror::Error, Debug)]
pub enum JsonError {
    /// The descriptors that are compiled in do not know it.
    #[error("no descriptor of {0}; run `make generate`")]
    Unknown(String),
    /// Its bytes do not fit its descriptor.
    #[error("message does not fit its descriptor: {0}")]
    Decode(#[from] prost_reflect::prost::DecodeError),
    /// It has no JSON form.
    #[error("message has no JSON form: {0}")]
    Serialize(#[from] serde_json::Error),
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let descriptors: &[u8] = include_bytes!("descriptors.binpb");
    DescriptorPool::decode(descriptors).unwrap_or_default()
});

/// A message as JSON, by its proto field names, keys sorted.
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
