//! The kinds of objects that the index holds. [`for_each_kind`] is their only list: names, keys, `apply` and `delete`
//! of the index, the decoders of [`crate::objects`] and the operator's watches are derived from it.

use std::fmt;

use super::{ObservedPolicy, Payload};
use crate::policy::{
    ObjectName, ValidatedPolicy, ValidatedTrustedService, ValidatedVirtualNetwork,
};

/// Expands `$generate!` with every kind: its name in Kubernetes, and the type of its objects in the index, which
/// implements [`Payload`], [`super::Indexed`] and [`crate::objects::Decode`]. The list is sorted by name, which is the
/// order of keys.
macro_rules! for_each_kind {
    ($generate:ident) => {
        $generate! {
            EndpointSlice($crate::index::EndpointSliceFact),
            Namespace($crate::index::NamespaceFact),
            NetworkPolicy($crate::index::NetworkPolicyFact),
            Pod($crate::index::ObservedPod),
            Service($crate::index::ServiceFact),
            ServiceAccount($crate::index::ServiceAccountFact),
            TrustedService($crate::policy::ValidatedTrustedService),
            VaultNetworkPolicy($crate::index::ObservedPolicy),
            VirtualNetwork($crate::policy::ValidatedVirtualNetwork),
        }
    };
}
pub(crate) use for_each_kind;

/// The kind of a type that the index keeps.
pub trait KindOf {
    /// The kind.
    const KIND: Kind;
}

macro_rules! define {
    ($($kind:ident($payload:ty),)*) => {
        /// A kind of objects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(
                #[doc = concat!("`", stringify!($kind), "`.")]
                $kind,
            )*
        }

        impl Kind {
            /// All kinds, sorted by name.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Name of the kind in Kubernetes, for example `VaultNetworkPolicy`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)*
                }
            }
        }

        /// An object that can be put into the index: a fact, or a validated custom resource.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $(
                #[doc = concat!("A `", stringify!($kind), "`.")]
                $kind($payload),
            )*
        }

        impl Object {
            /// Kind of the object.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// Kind and name.
            pub fn key(&self) -> Key {
                let name = match self {
                    $(Self::$kind(object) => object.object_name(),)*
                };
                Key { kind: self.kind(), name }
            }

            /// Returns the part that has an effect although the object itself must not be used, for example because two
            /// files define it. Of a policy, that is its existence and its vault.
            pub fn unusable(self) -> Option<Self> {
                match self {
                    $(Self::$kind(object) => object.unusable().map(Self::$kind),)*
                }
            }
        }

        $(
            impl KindOf for $payload {
                const KIND: Kind = Kind::$kind;
            }

            impl From<$payload> for Object {
                fn from(object: $payload) -> Self {
                    Self::$kind(object)
                }
            }
        )*
    };
}
for_each_kind!(define);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Object {
    /// The policy, if this is a valid one.
    pub fn policy(&self) -> Option<&ValidatedPolicy> {
        match self {
            Self::VaultNetworkPolicy(ObservedPolicy::Valid(policy)) => Some(policy),
            _ => None,
        }
    }

    /// The trusted service, if this is one.
    pub fn trusted_service(&self) -> Option<&ValidatedTrustedService> {
        match self {
            Self::TrustedService(service) => Some(service),
            _ => None,
        }
    }

    /// The virtual network, if this is one.
    pub fn virtual_network(&self) -> Option<&ValidatedVirtualNetwork> {
        match self {
            Self::VirtualNetwork(network) => Some(network),
            _ => None,
        }
    }
}

impl From<ValidatedPolicy> for Object {
    fn from(policy: ValidatedPolicy) -> Self {
        Self::VaultNetworkPolicy(ObservedPolicy::Valid(Box::new(policy)))
    }
}

/// Identity of an object: no two objects have the same one at a time. Written `KIND NAMESPACE/NAME`, or `KIND NAME` for
/// a cluster-scoped object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind of the object.
    pub kind: Kind,
    /// Its namespace and name; the namespace of a cluster-scoped object is empty.
    pub name: ObjectName,
}

impl Key {
    /// Key of an object of this kind.
    pub fn new(kind: Kind, name: ObjectName) -> Self {
        Self { kind, name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
