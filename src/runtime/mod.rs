//! Parts of the operator that use no reconciler: a reconciler passes in what is specific to its kind.
//!
//! | module | content |
//! |---|---|
//! | [`apply`] | server-side apply, pruning and cache of generated objects |
//! | [`authority`] | the operator's certificate authority, in its Secret |
//! | [`events`] | events about objects |
//! | [`issuer_keys`] | public keys of token issuers, fetched again and again |
//! | [`label_guard`] | whether the label of service accounts on pods is guarded |
//! | [`leader`] | leader election, and the term that every write checks |
//! | [`operations`] | health, readiness and metrics over HTTP |
//! | [`permissions`] | permissions of the operator, and their check at start |
//! | [`queue`] | queue of a reconciler: stages, fairness, retries |
//! | [`reflector`] | watch of one kind, as changes |
//! | [`replicas`] | reports of the replicas to the leader |
//! | [`request`] | requests that need no term, with a timeout |
//! | [`status`] | writes of status, and conditions |
//! | [`watch`] | watches of all kinds that the index holds |
//! | [`write`](mod@write) | writes of the leader |

pub(crate) mod apply;
pub(crate) mod authority;
pub mod events;
pub mod issuer_keys;
pub(crate) mod label_guard;
pub mod leader;
pub mod operations;
pub mod permissions;
pub(crate) mod queue;
pub(crate) mod reflector;
pub mod replicas;
pub(crate) mod request;
pub(crate) mod status;
pub(crate) mod watch;
pub(crate) mod write;
