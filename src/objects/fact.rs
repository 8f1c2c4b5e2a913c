//! Ordinary Kubernetes objects as facts; everything that no firewall needs is dropped here, at once.

use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Object, ObjectKey, Refused, key_of, violation};
use crate::index::{FactError, NamespaceFact, ObservedPod, ServiceAccountFact, ServiceFact};
use crate::policy::{Violation, ViolationReason};

/// Reads an object of one of the four kinds.
pub(crate) fn read(kind: &str, value: Value) -> (Option<ObjectKey>, Result<Object, Refused>) {
    let key = key_of(kind, &value);
    let object = match kind {
        "Namespace" => convert(value, NamespaceFact::from_object).map(Object::Namespace),
        "Pod" => convert(value, ObservedPod::from_object).map(Object::Pod),
        "ServiceAccount" => {
            convert(value, ServiceAccountFact::from_object).map(Object::ServiceAccount)
        }
        _ => convert::<Service, _>(value, ServiceFact::from_object).map(Object::Service),
    };
    (
        key,
        object.map_err(|found| Refused {
            violations: vec![found],
            policy: None,
        }),
    )
}

fn convert<K: Ordinary, F>(
    value: Value,
    fact: fn(&K) -> Result<F, FactError>,
) -> Result<F, Violation> {
    let object: K = serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        let message = format!("{}; write it as `kubectl get -o yaml` does", error.inner());
        violation(
            field.trim_start_matches('.'),
            ViolationReason::WrongType,
            message,
        )
    })?;
    fact(&object).map_err(|error| violation(&error.field, ViolationReason::Invalid, error.message))
}

/// The four kinds that become facts.
trait Ordinary: DeserializeOwned {}
impl Ordinary for Namespace {}
impl Ordinary for Pod {}
impl Ordinary for Service {}
impl Ordinary for ServiceAccount {}
