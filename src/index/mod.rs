//! Facts from watches or files, and which firewalls a change of them touches. No kube client, no async, no I/O:
//! whoever watches or reads hands plain objects in.

mod facts;
mod membership;
mod memory;
mod vault;

pub use facts::*;
pub use memory::*;

#[cfg(test)]
mod tests;
