//! Loopback addresses that belong to one test alone, so that a test can name its ports before a server listens on them.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Number of addresses that were given out by this process.
static GIVEN: AtomicU32 = AtomicU32::new(0);
/// Addresses that end with 1 to 254 are given out.
const IN_A_BLOCK: u32 = 254;

/// Returns an address where no other test, of this run or another, listens. To choose free ports instead would race:
/// between the choice and the start of the server, a connection or another server may be given the port.
///
/// The addresses are in the upper half of 127.0.0.0/8; the lower half is used for clients and by people. Each process
/// begins with the block that its id stands for. A further block is that of the id that is as far away as possible.
///
/// # Panics
///
/// After 1,016 addresses.
pub fn own_address() -> Ipv4Addr {
    let number = GIVEN.fetch_add(1, Ordering::Relaxed);
    let (block, last) = (number / IN_A_BLOCK, number % IN_A_BLOCK + 1);
    assert!(
        block < 4,
        "this process has used all its loopback addresses"
    );
    let block = std::process::id().wrapping_add(block * 0x2000) & 0x7fff;
    Ipv4Addr::from_bits(0x7f80_0000 | block << 8 | last)
}
