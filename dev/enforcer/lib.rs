//! Enforces `NetworkPolicy` inside the node of a local cluster whose own network does not. It is used in development
//! and is never shipped.
//!
//! It watches policies, pods and namespaces, and keeps one nftables table: `policy` resolves the objects, `agent` keeps
//! the table up to date, `nft` puts it in force. As on other networks, a new pod is isolated as soon as its address is
//! known, established connections go on, and packets to or from the node itself are not filtered. IPv6 is not enforced:
//! the local cluster has none.

pub mod agent;
pub mod nft;
pub mod policy;
