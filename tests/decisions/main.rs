//! Decision tables that a reader can check by eye: one for each reason code, one for each part of the vault's API, and
//! one for client addresses. The tables are data beside this file; `#` starts a comment, columns are separated by `|`,
//! `-` is "none".

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod classify;
mod client_address;
mod firewall;
mod reasons;
mod table;
