//! `ServiceAccount` as a fact: identities name one.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::index::ServiceAccountFact;
use crate::limits::Limits;
use crate::objects::Decode;
use crate::objects::ordinary::{Ordinary, not_a_fact};
use crate::policy::Violation;

impl Decode for ServiceAccountFact {
    type Stored = ServiceAccount;
    type Source = Ordinary;

    fn decode(stored: &ServiceAccount, _: &Limits) -> Result<Self, Vec<Violation>> {
        Self::from_object(stored).map_err(not_a_fact)
    }
}
