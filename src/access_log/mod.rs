//! The access log as data: records, and the denials among them.
//!
//! `record` does no I/O, and takes times as arguments.
//!
//! | module | what it is |
//! |---|---|
//! | `record` | one record, as Envoy writes it |
//! | [`sink`] | receives denials from proxies: limits, numbers, and the queue for the store |

mod record;
pub mod sink;

pub use record::Record;
