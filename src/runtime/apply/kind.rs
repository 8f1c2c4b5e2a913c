//! Kinds of generated objects. `define` has the only list; another kind is one more line.

use k8s_openapi::api::{apps, core, networking, policy};
use kube::api::ApiResource;

macro_rules! define {
    ($($kind:ident($object:ty),)*) => {
        /// Kind of a generated object, in the order of the writes: network policies come before the proxies' Service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum GeneratedKind {
            $($kind,)*
        }

        impl GeneratedKind {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind),*];

            pub(super) fn resource(self) -> ApiResource {
                match self {
                    $(Self::$kind => ApiResource::erase::<$object>(&()),)*
                }
            }

            /// Name of the kind, as manifests have it.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)*
                }
            }
        }
    };
}

define! {
    NetworkPolicy(networking::v1::NetworkPolicy),
    ServiceAccount(core::v1::ServiceAccount),
    Secret(core::v1::Secret),
    ConfigMap(core::v1::ConfigMap),
    Service(core::v1::Service),
    Deployment(apps::v1::Deployment),
    PodDisruptionBudget(policy::v1::PodDisruptionBudget),
}
