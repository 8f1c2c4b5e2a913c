//! `vaultwall serve` with a real Envoy and a real `OpenBao`: changes under load, faults, bad input.
//!
//! Every test has loopback addresses, a folder and processes of its own, and waits for conditions, never for time to
//! pass. `VAULTWALL_ENVOY` and `VAULTWALL_BAO` name other binaries than those that `dev/tools install` puts in place.

mod access_log;
mod arguments;
mod budgets;
mod by_hand;
mod files;
mod load;
mod members;
mod objects;
mod outages;
mod proxies;
mod sandbox;
mod serve;
mod sockets;
