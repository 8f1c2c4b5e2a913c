//! The types in which the index keeps objects, one a kind: the name of an object, and the part of it that counts even
//! if the object itself must not be used.

use super::{
    EndpointSliceFact, InvalidPolicy, NamespaceFact, NetworkPolicyFact, ObservedPod,
    ObservedPolicy, ServiceAccountFact, ServiceFact,
};
use crate::policy::{ObjectName, ValidatedTrustedService, ValidatedVirtualNetwork};

/// An object of one kind, as the index keeps it.
pub trait Payload {
    /// Namespace and name; the namespace of a cluster-scoped object is empty.
    fn object_name(&self) -> ObjectName;

    /// The part of an object that still counts when the object itself must not be used; `None`: nothing of it.
    fn unusable(self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

impl Payload for EndpointSliceFact {
    fn object_name(&self) -> ObjectName {
        self.id.clone()
    }
}

impl Payload for NamespaceFact {
    fn object_name(&self) -> ObjectName {
        ObjectName::cluster_scoped(&self.name)
    }
}

impl Payload for NetworkPolicyFact {
    fn object_name(&self) -> ObjectName {
        self.id.clone()
    }
}

impl Payload for ObservedPod {
    fn object_name(&self) -> ObjectName {
        match self {
            Self::Counted(pod) => pod.id(),
            Self::NotCounted { pod, .. } => pod.clone(),
        }
    }
}

impl Payload for ServiceFact {
    fn object_name(&self) -> ObjectName {
        ObjectName {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

impl Payload for ServiceAccountFact {
    fn object_name(&self) -> ObjectName {
        ObjectName {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

impl Payload for ValidatedTrustedService {
    fn object_name(&self) -> ObjectName {
        ObjectName::cluster_scoped(&*self.name)
    }
}

impl Payload for ValidatedVirtualNetwork {
    fn object_name(&self) -> ObjectName {
        ObjectName::cluster_scoped(&self.name)
    }
}

impl Payload for ObservedPolicy {
    fn object_name(&self) -> ObjectName {
        let name = match self {
            Self::Valid(policy) => &policy.name,
            Self::Invalid(policy) => &policy.name,
        };
        ObjectName {
            namespace: self.vault().namespace.clone(),
            name: name.clone(),
        }
    }

    /// That there is a policy, and for which vault.
    fn unusable(self) -> Option<Self> {
        let invalid = match self {
            Self::Valid(policy) => InvalidPolicy {
                name: policy.name,
                vault: policy.vault,
                port: policy.port,
                api: policy.api,
            },
            Self::Invalid(policy) => policy,
        };
        Some(Self::Invalid(invalid))
    }
}
