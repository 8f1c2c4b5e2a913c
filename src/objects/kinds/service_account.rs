//! `ServiceAccount` as a fact, for questions of the command line alone: no rule names one yet, so it is not watched.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::index::ServiceAccountFact;
use crate::limits::Limits;
use crate::objects::Decode;
use crate::objects::ordinary::{Ordinary, not_a_fact};
use crate::policy::Violation;

impl Decode for ServiceAccountFact {
    type Stored = ServiceAccount;
    type Source = Ordinary;
    const WATCHED: bool = false;

    fn decode(stored: &ServiceAccount, _: &Limits) -> Result<Self, Vec<Violation>> {
        Self::from_object(stored).map_err(not_a_fact)
    }
}
