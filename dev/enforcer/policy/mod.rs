//! What policies mean, without a client, a clock or a kernel: objects → [`Model`] → verdicts, or a ruleset for nft.
//!
//! The tests hold [`Model::allows`] against cyclonus' engine, and the ruleset against [`Model::allows`] with packets. It
//! shares no code with the operator, whose policies it enforces in tests.

mod model;
mod ranges;
mod render;
mod resolve;

#[allow(
    unused_imports,
    reason = "the agent needs fewer of them than the tests"
)]
pub use model::{Model, Packet, Ports, Protocol, Rule};
#[allow(
    unused_imports,
    reason = "the agent needs fewer of them than the tests"
)]
pub use ranges::Ranges;
pub use render::render;
pub use resolve::resolve;
