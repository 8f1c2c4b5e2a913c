//! `NetworkPolicy` as a fact. Ignored in files: it only leads to a warning in the status.

use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::index::NetworkPolicyFact;
use crate::limits::Limits;
use crate::objects::{Decode, Ordinary};
use crate::policy::Violation;

impl Decode for NetworkPolicyFact {
    type Stored = NetworkPolicy;
    type Source = Ordinary;
    const IN_FILES: bool = false;

    /// A policy that opens nothing is refused without a violation: it is not a mistake.
    fn decode(stored: &NetworkPolicy, _: &Limits) -> Result<Self, Vec<Violation>> {
        Self::from_object(stored).ok_or_else(Vec::new)
    }
}
