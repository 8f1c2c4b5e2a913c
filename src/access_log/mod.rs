//! The access log as data: records, and the denials among them.
//!
//! These modules do no I/O, and take times as arguments. Readers of the log, from files or from proxies, add its
//! records to a [`Store`].
//!
//! | module | what it is |
//! |---|---|
//! | `record` | one record, as Envoy writes it |
//! | `groups` | denials that are alike |
//! | `shares` | a bounded number of entries, in fair shares of vaults and callers |
//! | [`sink`] | receives denials from proxies: limits, numbers, and the queue of those that are taken |
//! | `store` | recent denials: records by id, and groups |

mod groups;
mod record;
mod shares;
pub mod sink;
mod store;
#[cfg(test)]
mod tests;

pub use groups::{Group, GroupKey};
pub use record::Record;
pub use store::{Capacity, Denials, Store, StoredRecord};
