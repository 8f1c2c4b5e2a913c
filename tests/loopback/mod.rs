//! Loopback addresses that belong to one test alone, so that it can name its ports before somebody listens there.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

static TAKEN: AtomicU8 = AtomicU8::new(1);

/// An address where no other test, of this run or another, listens. Choosing free ports instead would race: between the
/// choice and the server's start, a connection or another server may be given the port.
///
/// # Panics
///
/// After 254 addresses.
pub fn own_address() -> Ipv4Addr {
    let number = TAKEN.fetch_add(1, Ordering::Relaxed);
    assert!(number < u8::MAX, "this process has no address left");
    let [.., high, low] = std::process::id().to_be_bytes();
    // Not the lower half, which tests and people use for clients and for everything else.
    Ipv4Addr::new(127, high | 0x80, low, number)
}
