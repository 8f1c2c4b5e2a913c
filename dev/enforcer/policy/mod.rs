//! Policies without a client, a clock or a kernel: objects → [`Model`] → verdicts, or a ruleset for nft.
//!
//! The tests compare [`Model::allows`] with the engine of cyclonus, and the ruleset with [`Model::allows`] by packets.
//! It shares no code with the operator, whose policies it enforces in tests.

mod model;
mod ranges;
mod render;
mod resolve;

pub use model::{Model, Packet, Ports, Protocol, Rule};
pub use ranges::Ranges;
pub use render::render;
pub use resolve::resolve;
