//! `Pod` as a fact.

use k8s_openapi::api::core::v1::Pod;

use crate::index::ObservedPod;
use crate::limits::Limits;
use crate::objects::Decode;
use crate::objects::ordinary::{Ordinary, not_a_fact};
use crate::policy::Violation;

impl Decode for ObservedPod {
    type Stored = Pod;
    type Source = Ordinary;

    fn decode(stored: &Pod, _: &Limits) -> Result<Self, Vec<Violation>> {
        Self::from_object(stored).map_err(not_a_fact)
    }
}
