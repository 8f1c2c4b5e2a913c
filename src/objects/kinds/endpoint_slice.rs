//! `EndpointSlice` as a fact. Ignored in files: outside of a cluster, the vault's address is set by an option.

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::index::EndpointSliceFact;
use crate::limits::Limits;
use crate::objects::{Decode, Ordinary};
use crate::policy::Violation;

impl Decode for EndpointSliceFact {
    type Stored = EndpointSlice;
    type Source = Ordinary;
    const IN_FILES: bool = false;

    /// A slice without a Service or without IPv4 addresses is refused without a violation: it is not a mistake.
    fn decode(stored: &EndpointSlice, _: &Limits) -> Result<Self, Vec<Violation>> {
        Self::from_object(stored).ok_or_else(Vec::new)
    }
}
