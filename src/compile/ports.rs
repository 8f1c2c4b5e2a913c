//! The ports on which a proxy listens; the Service in front of the proxies uses the same numbers.

/// Port of a proxy's management endpoint, unless the vault's own port is the same.
pub const MANAGEMENT_PORT: u16 = 8300;
/// Port of a proxy's metrics, unless the vault's own port is the same.
pub const METRICS_PORT: u16 = 8400;
/// Port of a proxy for its kubelet, unless the vault's own port is the same.
pub const KUBELET_PORT: u16 = 8600;

/// The ports of a vault's proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyPorts {
    /// The data endpoint: the vault's own port, so that clients only change the host.
    pub data: u16,
    /// The management endpoint, 8300 by default.
    pub management: u16,
    /// Metrics, 8400 by default.
    pub metrics: u16,
    /// Probes and the drain, for the kubelet of the proxy's own node, 8600 by default; no Service has it.
    pub kubelet: u16,
}

impl ProxyPorts {
    /// The ports for a vault whose Service has its API on port `data`.
    ///
    /// No two are the same number: opening one would open the other.
    pub fn of(data: u16) -> Self {
        let unless_taken = |port: u16| if port == data { port + 1 } else { port };
        Self {
            data,
            management: unless_taken(MANAGEMENT_PORT),
            metrics: unless_taken(METRICS_PORT),
            kubelet: unless_taken(KUBELET_PORT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_never_collide() {
        for (data, management, metrics, kubelet) in [
            (8200, 8300, 8400, 8600),
            (443, 8300, 8400, 8600),
            (8300, 8301, 8400, 8600),
            (8301, 8300, 8400, 8600),
            (8400, 8300, 8401, 8600),
            (8600, 8300, 8400, 8601),
        ] {
            assert_eq!(
                ProxyPorts::of(data),
                ProxyPorts {
                    data,
                    management,
                    metrics,
                    kubelet,
                }
            );
        }
    }
}
