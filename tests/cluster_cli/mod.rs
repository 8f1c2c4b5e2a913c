//! `explain`, `validate`, `render` and `trusted check` of a cluster: the same output as with files of the same objects,
//! and messages when the API server does not answer.

mod claims;
mod cluster;
mod connection;
mod diff;
mod permissions;
mod plugin;
mod same_answers;
mod trusted;
