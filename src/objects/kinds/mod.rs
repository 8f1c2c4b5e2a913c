//! Decoders, one file a kind. The list of kinds is that of the index; a kind that is added there is read from files,
//! watched, indexed and deleted without another list.

mod endpoint_slice;
mod namespace;
mod network_policy;
mod pod;
mod service;
mod service_account;
mod trusted_service;
mod vault_network_policy;
mod virtual_network;

use std::sync::LazyLock;

use kube::api::ApiResource;
use serde_json::Value;

use super::contents::Refused;
use super::decode::{Decode, Source, Stored};
use crate::api::GROUP;
use crate::index::{Key, Kind, Object, for_each_kind};
use crate::limits::Limits;
use crate::policy::Violation;

/// A kind, as data.
pub struct KindInfo {
    /// Name and identity of the kind.
    pub kind: Kind,
    /// API group, version and plural.
    pub resource: ApiResource,
    /// Whether its objects are in a namespace.
    pub namespaced: bool,
    /// Whether it is read from files; see [`Decode::IN_FILES`].
    pub in_files: bool,
    /// See [`Decode::NAME_IS_RESERVED`].
    pub(crate) name_is_reserved: bool,
    /// Decodes a document of this kind.
    pub(crate) decode: DecodeDocument,
}

/// [`Source::decode_document`] of one kind.
type DecodeDocument = fn(Value, Vec<Violation>, &Limits) -> (Option<Key>, Result<Object, Refused>);

impl KindInfo {
    fn of<D: Decode>() -> Self {
        Self {
            kind: D::KIND,
            resource: ApiResource::erase::<D::Stored>(&()),
            namespaced: D::Stored::NAMESPACED,
            in_files: D::IN_FILES,
            name_is_reserved: D::NAME_IS_RESERVED,
            decode: |document, ambiguous, limits| {
                let (key, object) = D::Source::decode_document::<D>(document, ambiguous, limits);
                (key, object.map(Into::into))
            },
        }
    }

    /// Whether this is one of our own kinds.
    pub fn is_custom(&self) -> bool {
        self.resource.group == GROUP
    }
}

/// Receives every kind by its type.
pub trait Visitor {
    /// Receives one kind.
    fn visit<D: Decode>(&mut self);
}

macro_rules! define_table {
    ($($kind:ident($payload:ty),)*) => {
        /// Returns the data of a kind.
        pub fn info(kind: Kind) -> &'static KindInfo {
            match kind {
                $(Kind::$kind => {
                    static INFO: LazyLock<KindInfo> = LazyLock::new(KindInfo::of::<$payload>);
                    &INFO
                })*
            }
        }

        /// Calls the visitor with every kind, sorted by name.
        pub fn visit_kinds(visitor: &mut impl Visitor) {
            $(visitor.visit::<$payload>();)*
        }
    };
}
for_each_kind!(define_table);

/// All kinds, sorted by name.
pub fn infos() -> impl Iterator<Item = &'static KindInfo> {
    Kind::ALL.iter().copied().map(info)
}
