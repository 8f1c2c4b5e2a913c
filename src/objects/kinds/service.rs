//! `Service` as a fact.

use k8s_openapi::api::core::v1::Service;

use crate::index::ServiceFact;
use crate::limits::Limits;
use crate::objects::Decode;
use crate::objects::ordinary::{Ordinary, not_a_fact};
use crate::policy::Violation;

impl Decode for ServiceFact {
    type Stored = Service;
    type Source = Ordinary;

    fn decode(stored: &Service, _: &Limits) -> Result<Self, Vec<Violation>> {
        Self::from_object(stored).map_err(not_a_fact)
    }
}
