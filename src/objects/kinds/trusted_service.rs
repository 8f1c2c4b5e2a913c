//! `TrustedService`: checked against its schema, then validated.

use crate::api::TrustedService;
use crate::limits::Limits;
use crate::objects::{Custom, Decode};
use crate::policy::{ValidatedTrustedService, Violation, validate_trusted_service};

impl Decode for ValidatedTrustedService {
    type Stored = TrustedService;
    type Source = Custom;

    fn decode(stored: &TrustedService, _: &Limits) -> Result<Self, Vec<Violation>> {
        validate_trusted_service(stored)
    }
}
