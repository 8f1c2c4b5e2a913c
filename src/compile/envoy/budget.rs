//! Budgets of upstream requests: callers of different trust use clusters of their own, so that none can take the
//! connections that another needs. Envoy's own defaults are one budget for all of them.
//!
//! [Decision 20](../../../docs/decisions/0020-budgets.md) has the reason of each value.

use envoy_types::pb::envoy::config::cluster::v3::CircuitBreakers;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::google::protobuf::UInt32Value;

use super::callers::Callers;
use crate::policy::Listener;

/// Largest number of bytes that are buffered for one connection, in each direction. A slower receiver stops the sender.
pub(super) const BUFFER_BYTES: u32 = 32 * 1024;

/// Request header with the name of the cluster. Each listener overwrites it before a route is chosen, and it is removed
/// before the request is forwarded.
pub(super) const HEADER: &str = "x-vaultwall-budget";
/// The same for requests of the session plane, such as logins.
pub(super) const HEADER_SESSION: &str = "x-vaultwall-session-budget";
/// The same for probes.
pub(super) const HEADER_PROBE: &str = "x-vaultwall-probe-budget";
/// Copy of `Transfer-Encoding` for the routes of probes, handled like [`HEADER`]: Envoy removes the original before it
/// chooses a route.
pub(super) const HEADER_ENCODING: &str = "x-vaultwall-transfer-encoding";
/// All headers of this module.
pub(super) const HEADERS: [&str; 4] = [HEADER, HEADER_SESSION, HEADER_PROBE, HEADER_ENCODING];

/// A group of requests with a cluster of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// Requests that the network rules allowed, on the data endpoint.
    Admitted,
    /// Requests on the management endpoint, which anyone may send.
    Management(Callers),
    /// Logins and other requests of the session plane on the management endpoint. They may take long, because the vault
    /// asks other servers, and must not delay management.
    Sessions(Callers),
    /// Probes on both endpoints, which anyone may send.
    Probes(Callers),
}

impl Budget {
    /// All budgets.
    pub(super) const ALL: [Self; 7] = [
        Self::Admitted,
        Self::Management(Callers::Listed),
        Self::Sessions(Callers::Listed),
        Self::Probes(Callers::Listed),
        Self::Management(Callers::Unlisted),
        Self::Sessions(Callers::Unlisted),
        Self::Probes(Callers::Unlisted),
    ];

    /// The budget of a listener's requests that are neither probes nor of the session plane.
    pub(super) fn of(listener: Listener, callers: Callers) -> Self {
        match listener {
            Listener::Data => Self::Admitted,
            Listener::Management => Self::Management(callers),
        }
    }

    /// The budget of a listener's requests of the session plane.
    pub(super) fn of_sessions(listener: Listener, callers: Callers) -> Self {
        match listener {
            Listener::Data => Self::Admitted,
            Listener::Management => Self::Sessions(callers),
        }
    }

    /// Name of the cluster, and of its endpoints.
    pub(super) fn cluster(self) -> &'static str {
        match self {
            Self::Admitted => "vault",
            Self::Management(Callers::Listed) => "vault-management",
            Self::Management(Callers::Unlisted) => "vault-management-unlisted",
            Self::Sessions(Callers::Listed) => "vault-sessions",
            Self::Sessions(Callers::Unlisted) => "vault-sessions-unlisted",
            Self::Probes(Callers::Listed) => "vault-probes",
            Self::Probes(Callers::Unlisted) => "vault-probes-unlisted",
        }
    }

    /// Largest numbers of connections to the vault, and of requests that wait for one.
    fn limits(self) -> (u32, u32) {
        match self {
            Self::Admitted => (1024, 4096),
            Self::Management(_) | Self::Sessions(_) => (256, 1024),
            Self::Probes(_) => (32, 512),
        }
    }

    /// The limits as Envoy's circuit breakers. A request above both is answered 503 at once.
    pub(super) fn circuit_breakers(self) -> CircuitBreakers {
        let (connections, pending) = self.limits();
        let limit = |value| Some(UInt32Value { value });
        CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: limit(connections),
                max_pending_requests: limit(pending),
                // Each connection to the vault has one request at a time.
                max_requests: limit(connections + pending),
                // Many requests at once may meet connections that the vault has just closed.
                max_retries: limit(connections),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }
    }
}

/// Timeout in seconds while nothing is sent in either direction: the vault may work for minutes before it answers. A
/// client cannot use it to wait without end, because the time for a whole request is limited on its own.
const SILENCE_SECONDS: i64 = 900;
/// Largest size of all headers together that `OpenBao` 2.7 reads, in KiB: 1 MiB and the 4 KiB that Go adds.
const VAULT_HEADERS_KIB: u32 = 1024 + 4;
/// Largest number of headers that `OpenBao` 2.7 reads (500), with room for those that Envoy makes of the first line.
const VAULT_HEADERS_COUNT: u32 = 512;

/// Limits of one endpoint's clients of one group.
pub(super) struct ClientLimits {
    /// Largest number of connections.
    pub connections: u32,
    /// Timeout of a connection without a request, in seconds.
    pub idle: i64,
    /// Timeout for the headers of a request, in seconds.
    pub headers: i64,
    /// Timeout for a whole request, in seconds.
    pub request: i64,
    /// Timeout while nothing is sent in either direction, in seconds.
    pub silence: i64,
    /// Largest size of all headers of a request together, in KiB.
    pub headers_kib: u32,
    /// Largest number of headers of a request.
    pub headers_count: u32,
    /// Largest request body in bytes; with a limit, the vault gets the request when it has arrived whole.
    pub body: Option<u32>,
}

/// Limits of an endpoint's clients. Everybody may send requests, so of callers that no rule lists the product of
/// connections and the size of a request stays below the memory of a proxy, for both endpoints together. Listed callers
/// may send headers as large as the vault reads; the limit of the heap protects the proxy from those.
pub(super) const fn client_limits(listener: Listener, callers: Callers) -> ClientLimits {
    match (listener, callers) {
        (Listener::Data, Callers::Listed) => ClientLimits {
            connections: 10_240,
            idle: 300,
            headers: 5,
            request: 60,
            silence: SILENCE_SECONDS,
            headers_kib: VAULT_HEADERS_KIB,
            headers_count: VAULT_HEADERS_COUNT,
            body: None,
        },
        (Listener::Data, Callers::Unlisted) => ClientLimits {
            connections: 2_048,
            idle: 15,
            headers_kib: 16,
            headers_count: 100,
            ..client_limits(Listener::Data, Callers::Listed)
        },
        (Listener::Management, Callers::Listed) => ClientLimits {
            connections: 768,
            headers_kib: VAULT_HEADERS_KIB,
            headers_count: VAULT_HEADERS_COUNT,
            ..client_limits(Listener::Management, Callers::Unlisted)
        },
        (Listener::Management, Callers::Unlisted) => ClientLimits {
            connections: 1_280,
            idle: 15,
            headers: 5,
            request: 10,
            silence: SILENCE_SECONDS,
            headers_kib: 16,
            headers_count: 100,
            body: Some(128 * 1024),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vault whose owner raised `max_request_duration` may take longer than Envoy's five minutes.
    #[test]
    fn every_caller_may_wait_for_a_slow_vault() {
        for listener in [Listener::Data, Listener::Management] {
            for callers in Callers::ALL {
                assert!(client_limits(listener, callers).silence >= 900);
            }
        }
    }
}
