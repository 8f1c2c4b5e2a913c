//! README and docs/ show what the program does: every example is read, every command run, every link and flag looked
//! up.
//!
//! The first word after a fence is the kind of a block; [`page::Kind`] lists the words. An unknown word fails, so that
//! no block is skipped because of a typing error.

mod access_log;
mod charts;
mod command;
mod examples;
mod flags;
mod image;
mod links;
mod messages;
mod network_policies;
mod page;
mod shown;
mod status;
