//! Interface of a kind: everything that is needed to read its objects from documents and from watches.

use std::fmt::Debug;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::contents::Refused;
use crate::index::{Indexed, Key, KindOf};
use crate::limits::Limits;
use crate::policy::{ObjectName, Violation};

/// A kind whose objects can be decoded. Implemented by the type that the index keeps, in `kinds/`.
pub trait Decode: Indexed + KindOf + 'static {
    /// The object as the API server stores it.
    type Stored: Stored;
    /// Checks of its documents: [`super::Custom`] for our own kinds, [`super::Ordinary`] for those of Kubernetes.
    type Source: Source;

    /// Whether objects of this kind are read from files, and by the command line from a cluster; otherwise they are
    /// counted as ignored there.
    const IN_FILES: bool = true;
    /// Whether an object of this name in another API group has a mistake in its `apiVersion` and must not be ignored.
    const NAME_IS_RESERVED: bool = false;
    /// Pairs of field paths: a value of the first that has the wrong type leads validation to a wrong conclusion about
    /// the second, which is therefore left out.
    const MISLEADING: &'static [(&'static str, &'static str)] = &[];

    /// Makes the index's object from the stored one.
    ///
    /// # Errors
    /// Violations of the rules that the object's type does not express, all of them.
    fn decode(stored: &Self::Stored, limits: &Limits) -> Result<Self, Vec<Violation>>;

    /// Returns the part of an object that counts in spite of its violations.
    fn fallback(_name: &ObjectName, _document: &Value) -> Option<Self> {
        None
    }
}

/// An object as the API server stores it, of a kind that is known at compile time.
pub trait Stored:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// Whether objects of this kind are in a namespace.
    const NAMESPACED: bool;
}

impl<K> Stored for K
where
    K: Resource<DynamicType = (), Scope: Scope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    const NAMESPACED: bool = <K::Scope as Scope>::NAMESPACED;
}

/// A scope that is known at compile time.
pub trait Scope {
    /// Whether objects of this scope are in a namespace.
    const NAMESPACED: bool;
}

impl Scope for NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

impl Scope for ClusterResourceScope {
    const NAMESPACED: bool = false;
}

/// A way of decoding, common to several kinds.
pub trait Source {
    /// The type that a watch decodes an object to.
    type Sent<K: Stored>: Resource + Clone + Debug + DeserializeOwned + Send + 'static;

    /// Group, version and plural of the kind, in the form that [`Self::Sent`] takes.
    fn resource<K: Stored>() -> <Self::Sent<K> as Resource>::DynamicType;

    /// The status of an object that a watch sent, where one is kept.
    fn status<K: Stored>(sent: &Self::Sent<K>) -> Option<Value>;

    /// Decodes an object that a watch sent.
    ///
    /// # Errors
    /// The object must not be used.
    fn decode_sent<D: Decode>(sent: Self::Sent<D::Stored>, limits: &Limits) -> Result<D, Refused>;

    /// Decodes a document; `ambiguous` are its spellings with two readings. The key is that of the document, also if
    /// the object must not be used; `None` when the document has no name.
    fn decode_document<D: Decode>(
        document: Value,
        ambiguous: Vec<Violation>,
        limits: &Limits,
    ) -> (Option<Key>, Result<D, Refused>);
}

/// The type that a watch of `D` decodes an object to.
pub type Sent<D> = <<D as Decode>::Source as Source>::Sent<<D as Decode>::Stored>;

/// Returns the key of a document that has a name.
pub(crate) fn key_of<D: Decode>(document: &Value) -> Option<Key> {
    let text = |pointer: &str| {
        let text = document.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let mut name = ObjectName::cluster_scoped(text("/metadata/name"));
    if D::Stored::NAMESPACED {
        name.namespace = text("/metadata/namespace");
    }
    (!name.name.is_empty()).then(|| Key::new(D::KIND, name))
}
