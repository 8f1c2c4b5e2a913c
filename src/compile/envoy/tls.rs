//! TLS of the endpoints, towards clients and towards the vault.
//!
//! The certificate and its key belong to the vault's owner and are in a Secret that is mounted into the proxies. Envoy
//! reads them; Vaultwall never does.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, TlsParameters, UpstreamTlsContext,
};

use super::secret_files::{SecretFile, named, transport_socket};

/// The certificate for clients.
const CLIENTS: SecretFile = SecretFile::certificate("clients", "sds-clients.json");
/// The authorities of the vault's certificate.
const VAULT: SecretFile = SecretFile::authorities("vault", "sds-vault.json");

/// TLS settings of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Folder with the files of [`Tls::files`].
    pub configuration: String,
    /// Towards clients: the folder with the certificate and its key, as
    /// [`CERTIFICATE_FILE`](super::CERTIFICATE_FILE) and [`KEY_FILE`](super::KEY_FILE). `None`: plain HTTP.
    pub clients: Option<String>,
    /// Towards the vault. `None`: plain HTTP.
    pub vault: Option<VaultTls>,
}

/// TLS settings towards the vault (`spec.proxy.upstreamTls`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultTls {
    /// Folder with the authorities that may sign the vault's certificate, as
    /// [`AUTHORITY_FILE`](super::AUTHORITY_FILE).
    pub authorities: String,
    /// The DNS name that the vault's certificate must carry.
    pub server_name: String,
}

impl Tls {
    /// Names and contents of the files from which Envoy learns the paths of the certificates. They hold no secret.
    pub fn files(&self) -> BTreeMap<&'static str, String> {
        let clients = self.clients.as_ref();
        let clients = clients.map(|folder| (CLIENTS.file, CLIENTS.text(folder)));
        let vault = self.vault.as_ref();
        let vault = vault.map(|vault| (VAULT.file, VAULT.text(&vault.authorities)));
        clients.into_iter().chain(vault).collect()
    }

    /// Transport socket of a listener. Without HTTP/2 it offers HTTP/1.1 alone, the protocol towards the vault, so
    /// nothing is translated.
    pub(super) fn of_listener(&self, http2: bool) -> Option<TransportSocket> {
        self.clients.as_ref()?;
        let context = DownstreamTlsContext {
            common_tls_context: Some(CommonTlsContext {
                tls_params: Some(versions()),
                alpn_protocols: http2
                    .then_some("h2")
                    .into_iter()
                    .chain(["http/1.1"])
                    .map(Into::into)
                    .collect(),
                tls_certificate_sds_secret_configs: vec![CLIENTS.discovered(&self.configuration)],
                ..CommonTlsContext::default()
            }),
            ..DownstreamTlsContext::default()
        };
        Some(transport_socket(&context))
    }

    /// Transport socket of the vault's cluster.
    pub(super) fn of_cluster(&self) -> Option<TransportSocket> {
        let VaultTls { server_name, .. } = self.vault.as_ref()?;
        let validation = CombinedCertificateValidationContext {
            default_validation_context: Some(named(server_name)),
            validation_context_sds_secret_config: Some(VAULT.discovered(&self.configuration)),
            ..CombinedCertificateValidationContext::default()
        };
        let context = UpstreamTlsContext {
            sni: server_name.clone(),
            common_tls_context: Some(CommonTlsContext {
                tls_params: Some(versions()),
                validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                    validation,
                )),
                ..CommonTlsContext::default()
            }),
            ..UpstreamTlsContext::default()
        };
        Some(transport_socket(&context))
    }
}

/// TLS versions, the same as `OpenBao`'s own default.
fn versions() -> TlsParameters {
    TlsParameters {
        tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        ..TlsParameters::default()
    }
}
