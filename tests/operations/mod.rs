//! Replicas of the operator on a real Kubernetes API server: who leads, and what they are allowed.

mod election;
mod forwarder;
mod permissions;
