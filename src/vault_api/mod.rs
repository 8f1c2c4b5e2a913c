//! Classification of requests: a request → its plane and operations, by profiles that are data. Pure: no I/O, no
//! client, no async runtime.

mod classify;
mod dialect;
mod engine;
pub mod path;
pub mod pattern;
mod profile;
mod table;
mod template;

pub use classify::{
    BadRequest, FLAGS_FALSE, FLAGS_TRUE, HEADER_ANNOUNCED, HEADER_NAMESPACE, HEADER_TOKEN,
    NAMESPACE_ROOT, NAMESPACE_VALUE, Request, classify,
};
pub use dialect::{Dialect, Verb};
pub use engine::{Engine, EngineNamespace};
pub use profile::{Operations, Plane, Profile};
pub use table::{Class, Described, HeaderMatch, PathMatch, Prefix, Row, Table};
pub use template::Template;
