//! `Namespace` as a fact.

use k8s_openapi::api::core::v1::Namespace;

use crate::index::NamespaceFact;
use crate::limits::Limits;
use crate::objects::Decode;
use crate::objects::ordinary::{Ordinary, not_a_fact};
use crate::policy::Violation;

impl Decode for NamespaceFact {
    type Stored = Namespace;
    type Source = Ordinary;

    fn decode(stored: &Namespace, _: &Limits) -> Result<Self, Vec<Violation>> {
        Self::from_object(stored).map_err(not_a_fact)
    }
}
