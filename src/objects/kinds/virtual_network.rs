//! `VirtualNetwork`: checked against its schema, then validated.

use crate::api::VirtualNetwork;
use crate::limits::Limits;
use crate::objects::{Custom, Decode};
use crate::policy::{ValidatedVirtualNetwork, Violation, validate_virtual_network};

impl Decode for ValidatedVirtualNetwork {
    type Stored = VirtualNetwork;
    type Source = Custom;

    fn decode(stored: &VirtualNetwork, _: &Limits) -> Result<Self, Vec<Violation>> {
        validate_virtual_network(stored)
    }
}
