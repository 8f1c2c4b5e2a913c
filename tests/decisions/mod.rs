//! Decision tables that a reader can check by eye: one for each reason code, one for each part of the vault's API, and
//! one for client addresses. The tables are data in this folder; `#` starts a comment, columns are separated by `|`,
//! `-` is "none".

mod carries_token;
mod classify;
mod client_address;
mod firewall;
mod reasons;
mod table;
