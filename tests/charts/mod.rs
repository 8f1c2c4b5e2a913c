//! The Helm charts: rendered objects, refused values, notes, and their objects in a real Kubernetes API server.
//!
//! `VAULTWALL_HELM` and the variables of `tests/api_server` name other programs than those that `dev/tools install`
//! puts in place.

mod alerts;
mod catalog;
mod generated_objects;
mod golden;
mod helm;
mod installed;
mod labels;
mod namespaces;
mod permissions;
mod priority;
mod program;
mod releases;
mod values;
