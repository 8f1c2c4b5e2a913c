//! The access log as data: records, and the denials among them.
//!
//! `record` does no I/O, and takes times as arguments.
//!
//! | module | what it is |
//! |---|---|
//! | `record` | one record, as Envoy writes it |

mod record;

pub use record::Record;
