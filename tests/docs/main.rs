//! What README and docs/ show is what happens: every example is read, every command run, every link and flag looked up.
//!
//! The first word after a fence says what a block is; [`page::Kind`] lists the words. A word that nobody knows fails, so
//! that nothing is passed over because of a typing error.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod access_log;
mod charts;
mod command;
mod examples;
mod flags;
mod image;
mod links;
mod live;
mod messages;
mod network_policies;
mod page;
mod shown;
mod status;
