//! Budgets of upstream requests: callers of different trust use clusters of their own, so that none can take the
//! connections that another needs. Envoy's own defaults are one budget for all of them.
//!
//! [Decision 20](../../../docs/decisions/0020-budgets.md) has the reason of each value.

use envoy_types::pb::envoy::config::cluster::v3::CircuitBreakers;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::google::protobuf::UInt32Value;

use crate::policy::Listener;

/// Largest number of bytes that are buffered for one connection, in each direction. A slower receiver stops the sender.
pub(super) const BUFFER_BYTES: u32 = 32 * 1024;
/// Largest request body on the management endpoint, which is received whole before the vault gets the request.
pub(super) const MANAGEMENT_BODY_BYTES: u32 = 1024 * 1024;

/// Request header with the name of the cluster. Each listener overwrites it before a route is chosen, and it is removed
/// before the request is forwarded.
pub(super) const HEADER: &str = "x-vaultwall-budget";
/// Copy of `Transfer-Encoding` for the routes of probes, handled like [`HEADER`]: Envoy removes the original before it
/// chooses a route.
pub(super) const HEADER_ENCODING: &str = "x-vaultwall-transfer-encoding";

/// A group of requests with a cluster of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// Requests that the network rules allowed, on the data endpoint.
    Admitted,
    /// Requests on the management endpoint, which anyone may send.
    Management,
    /// Probes on both endpoints, which anyone may send.
    Probes,
}

impl Budget {
    /// All budgets.
    pub(super) const ALL: [Self; 3] = [Self::Admitted, Self::Management, Self::Probes];

    /// The budget of a listener's requests that are not probes.
    pub(super) fn of(listener: Listener) -> Self {
        match listener {
            Listener::Data => Self::Admitted,
            Listener::Management => Self::Management,
        }
    }

    /// Name of the cluster, and of its endpoints.
    pub(super) fn cluster(self) -> &'static str {
        match self {
            Self::Admitted => "vault",
            Self::Management => "vault-management",
            Self::Probes => "vault-probes",
        }
    }

    /// Largest numbers of connections to the vault, and of requests that wait for one.
    fn limits(self) -> (u32, u32) {
        match self {
            Self::Admitted => (1024, 4096),
            Self::Management => (256, 1024),
            Self::Probes => (32, 512),
        }
    }

    /// The limits as Envoy's circuit breakers. A request above them is answered 503 at once.
    pub(super) fn circuit_breakers(self) -> CircuitBreakers {
        let (connections, pending) = self.limits();
        let limit = |value| Some(UInt32Value { value });
        CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: limit(connections),
                max_pending_requests: limit(pending),
                // Each connection to the vault has one request at a time.
                max_requests: limit(connections + pending),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }
    }
}
