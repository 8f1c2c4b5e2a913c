//! Objects from files and folders, or as an API server sends them: our own kinds, checked and validated, and ordinary
//! Kubernetes objects as facts.
//!
//! A file is read on its own ([`load_file`]), so that a watcher reloads only the file that changed; [`LoadedObjects`]
//! puts files together. An object with a violation is left out; whether the others may then be used is the caller's
//! decision. Reads files and decides no rule. A new kind is a type in the index with its [`crate::index::Indexed`], a
//! decoder in `kinds/`, and a line in `for_each_kind`.

mod contents;
mod custom;
mod decode;
mod document;
mod files;
mod kinds;
mod loaded;
mod null;
mod ordinary;
mod reader;
mod readings;
mod schema;
#[cfg(test)]
#[rustfmt::skip] // tables are read by eye
mod tests;

pub use contents::{CLUSTER, FileContents, Located, LocatedViolation, Refused};
pub use custom::Custom;
pub use decode::{Decode, Sent, Source, Stored};
pub use document::LoadError;
pub use files::{Listing, Place, files_of, is_hidden, is_read_in_folders, list};
pub use kinds::{KindInfo, Visitor, info, infos, visit_kinds};
pub use loaded::{LoadedObjects, load_files};
pub use ordinary::Ordinary;
pub use reader::{decode, load_file, parse_file, read_from_cluster};
