//! Limits of policies, of a vault, of its proxies and of connections: numbers only. The CRD's schema, validation,
//! resolution and the server for proxies use them.

/// Largest number of address blocks of a vault with `denial: Drop`, after adjacent blocks are joined. More are slow in
/// every network plugin, and the object nearly reaches the size that the API server refuses.
pub const MAX_DROP_BLOCKS: usize = 2_000;

/// Largest number of addresses and ranges in one set of a firewall: Envoy rejects an address trie with more.
pub const MAX_RANGES: usize = 262_144;

/// Largest number of addresses of pods that are trusted proxies of one vault: each change of a pod replaces the list of
/// all of them in Envoy.
pub const MAX_TRUSTED_PODS: usize = 10_000;

/// Largest number of proxies of one vault.
pub const MAX_PROXY_REPLICAS: u8 = 100;

/// Largest number of concurrent requests of one HTTP/2 connection.
pub const MAX_HTTP2_STREAMS: u8 = 250;

/// Connections of a proxy with the default number of workers: one for its rules, and one for denials of each worker.
const CONNECTIONS_OF_PROXY: usize = 1 + 2;

/// Largest number of connections with certificates of one identity, the proxies of one vault: one replica may serve all
/// of them, a rolling update replaces them all while the earlier ones drain, and some connections may be lost without a
/// notice.
pub const MAX_CONNECTIONS_OF_CLIENT: usize =
    2 * MAX_PROXY_REPLICAS as usize * CONNECTIONS_OF_PROXY + 56;

/// Largest number of connections to one replica: the default proxies of 1,000 vaults, with some to spare.
pub const MAX_CONNECTIONS: usize = 2_048 * CONNECTIONS_OF_PROXY;

/// Longest lifetime of a token that proves an identity, from its issue to its end, in seconds: one day. The owner of a
/// service account can issue tokens for a century.
pub const MAX_TOKEN_LIFETIME: i64 = 86_400;

/// Largest number of annotations of the Service in front of the proxies.
pub const MAX_SERVICE_ANNOTATIONS: usize = 50;

/// Longest value of such an annotation, in bytes. [`MAX_SERVICE_ANNOTATIONS`] of this length stay below the API
/// server's limit of 256 KiB for all annotations of an object.
pub const MAX_ANNOTATION_LENGTH: usize = 4096;

/// Settings of this installation for all policies: the largest number of rules in each list, and what rules may ignore.
///
/// An installation can set lower or higher limits than the default, up to the ceilings. The CRD's schema has the
/// ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of entries of `spec.virtualNetworkRules`.
    pub virtual_network_rules: usize,
    /// Largest number of entries of `spec.ipRules`.
    pub ip_rules: usize,
    /// Whether an inline rule may select pods of other namespaces that have not opted in, with
    /// `ignoreMissingServiceEndpoint`.
    pub ignore_missing_service_endpoint: bool,
}

impl Limits {
    /// Default of either list, the limit that Azure documents for Key Vault.
    pub const DEFAULT: usize = 127;
    /// Highest limit of virtual-network rules that an installation can set.
    pub const VIRTUAL_NETWORK_RULES_CEILING: usize = 200;
    /// Highest limit of IP rules that an installation can set.
    pub const IP_RULES_CEILING: usize = 1000;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            virtual_network_rules: Self::DEFAULT,
            ip_rules: Self::DEFAULT,
            ignore_missing_service_endpoint: false,
        }
    }
}
