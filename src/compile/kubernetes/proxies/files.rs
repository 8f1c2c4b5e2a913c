//! Files and folders in a proxy's pod.

use std::collections::BTreeMap;

use crate::compile::envoy::{Bootstrap, JsonError, MetricsPort, Tls, VaultTls, XdsServer, to_json};
use crate::policy::{ProxySettings, UpstreamTls, VaultId};

/// Folder of [`files`] in a proxy's pod.
pub const BOOTSTRAP_FOLDER: &str = "/etc/envoy";
/// Name of the bootstrap file in [`BOOTSTRAP_FOLDER`].
pub const BOOTSTRAP_FILE: &str = "bootstrap.json";
/// Folder of the identity in a proxy's pod: the files [`CERTIFICATE_FILE`](crate::compile::envoy::CERTIFICATE_FILE),
/// [`KEY_FILE`](crate::compile::envoy::KEY_FILE) and [`AUTHORITY_FILE`](crate::compile::envoy::AUTHORITY_FILE). When
/// the Secret changes, the kubelet replaces all of them at once by the symbolic link `..data` in this folder, so Envoy
/// watches the folder.
pub const IDENTITY_FOLDER: &str = "/etc/vaultwall/identity";
/// Folder of the endpoints' certificate and key in a proxy's pod.
pub(super) const CLIENTS_FOLDER: &str = "/etc/vaultwall/clients";
/// Folder of the authorities that sign the vault's certificate in a proxy's pod.
pub(super) const VAULT_FOLDER: &str = "/etc/vaultwall/vault";
/// Unix socket of Envoy's admin endpoint in a proxy's pod.
pub const ADMIN_SOCKET: &str = "/run/envoy/admin.sock";
/// Folder of [`ADMIN_SOCKET`].
pub(super) const RUNTIME_FOLDER: &str = "/run/envoy";

/// Names and contents of the files that the proxies of a vault are started with: the bootstrap, which names the
/// operator at `host` and `port` as xDS server, and the files that the bootstrap and the TLS settings refer to.
pub fn files(
    vault: &VaultId,
    metrics: MetricsPort,
    settings: &ProxySettings,
    host: &str,
    port: u16,
) -> Result<BTreeMap<String, String>, JsonError> {
    let tls = tls(vault, settings);
    let xds = XdsServer::Tls {
        host: host.to_owned(),
        port,
        certificates: IDENTITY_FOLDER.to_owned(),
        configuration: BOOTSTRAP_FOLDER.to_owned(),
    };
    let of_xds = xds.files();
    let bootstrap = Bootstrap {
        node_id: vault.to_string(),
        xds,
        admin_socket: ADMIN_SOCKET.to_owned(),
        metrics: Some(metrics),
        memory: settings.memory(),
    };
    let bootstrap = to_json(&bootstrap.message())?;
    // Indented, because people read it with kubectl.
    let bootstrap = (BOOTSTRAP_FILE.to_owned(), format!("{bootstrap:#}\n"));
    let others = of_xds
        .into_iter()
        .chain(tls.files())
        .map(|(name, text)| (name.to_owned(), text));
    Ok(others.chain([bootstrap]).collect())
}

/// TLS settings of a vault's proxies.
pub fn tls(vault: &VaultId, settings: &ProxySettings) -> Tls {
    let vault_tls = |tls: &UpstreamTls| VaultTls {
        authorities: VAULT_FOLDER.to_owned(),
        server_name: tls
            .server_name
            .clone()
            .unwrap_or_else(|| format!("{}.{}.svc", vault.service, vault.namespace)),
    };
    Tls {
        configuration: BOOTSTRAP_FOLDER.to_owned(),
        clients: settings.tls.as_ref().map(|_| CLIENTS_FOLDER.to_owned()),
        vault: settings.upstream_tls.as_ref().map(vault_tls),
    }
}
