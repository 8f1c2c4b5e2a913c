//! The ports on which a proxy listens; the Service in front of the proxies uses the same numbers.

/// Where a proxy's management endpoint listens, unless the vault's own port is this one.
pub const MANAGEMENT_PORT: u16 = 8300;
/// Where a proxy serves health and metrics, unless the vault's own port is this one.
pub const METRICS_PORT: u16 = 8400;
/// Where a proxy is told that it will be stopped, unless the vault's own port is this one.
pub const LEAVING_PORT: u16 = 8600;

/// The ports of a vault's proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyPorts {
    /// The data plane: the vault's own port, so that clients only change the host.
    pub data: u16,
    /// The management endpoint.
    pub management: u16,
    /// Health and metrics.
    pub metrics: u16,
    /// For the proxy's own node, which stops it; no Service has it.
    pub leaving: u16,
}

impl ProxyPorts {
    /// The ports for a vault whose Service has its API on port `data`.
    ///
    /// They differ whatever `data` is: if two were the same number, opening one would open the other.
    pub fn of(data: u16) -> Self {
        let beside = |port: u16| if port == data { port + 1 } else { port };
        Self {
            data,
            management: beside(MANAGEMENT_PORT),
            metrics: beside(METRICS_PORT),
            leaving: beside(LEAVING_PORT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_never_collide() {
        for (data, management, metrics, leaving) in [
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
                    leaving,
                }
            );
        }
    }
}
