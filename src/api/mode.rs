//! Mode of a policy, which its status repeats.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether requests that the network rules deny are blocked.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are denied.
    #[default]
    Enforced,
    /// They are forwarded and recorded.
    Audit,
}
