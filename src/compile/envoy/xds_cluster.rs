//! The cluster of the xDS server: Vaultwall on a Unix socket of the same machine, or the operator over mutual TLS.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily,
};
use envoy_types::pb::envoy::config::core::v3::{
    Http2ProtocolOptions, KeepaliveSettings, TransportSocket,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};

use super::addresses::{assignment, discovery, pipe, socket};
use super::secret_files::{SecretFile, named, transport_socket};
use super::wire::{any, seconds};

/// Name of the xDS server's cluster.
pub(super) const NAME: &str = "vaultwall-xds";
/// DNS name in the operator's certificate; it does not depend on the operator's address.
pub const SERVER_NAME: &str = "vaultwall";
/// The proxy's own certificate.
const IDENTITY: SecretFile = SecretFile::certificate("identity", "sds-identity.json");
/// The authorities that may sign the operator's certificate.
const AUTHORITIES: SecretFile = SecretFile::authorities("authorities", "sds-ca.json");

/// The xDS server of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdsServer {
    /// `vaultwall serve`, on the Unix socket at this path.
    Socket(String),
    /// The operator, over mutual TLS.
    Tls {
        /// IPv4 address or DNS name.
        host: String,
        /// TCP port, 8500 by default.
        port: u16,
        /// Folder with [`CERTIFICATE_FILE`](super::CERTIFICATE_FILE), [`KEY_FILE`](super::KEY_FILE) and
        /// [`AUTHORITY_FILE`](super::AUTHORITY_FILE).
        certificates: String,
        /// Folder with the files of [`XdsServer::files`].
        configuration: String,
    },
}

impl XdsServer {
    /// Names and contents of the files that Envoy needs in addition to its bootstrap to find its certificates. They
    /// hold no secret.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let Self::Tls { certificates, .. } = self else {
            return Vec::new();
        };
        let secrets = [IDENTITY, AUTHORITIES];
        secrets
            .map(|secret| (secret.file, secret.text(certificates)))
            .into()
    }

    /// The cluster of this server.
    pub(super) fn cluster(&self) -> Cluster {
        let (discovery, address) = match self {
            Self::Socket(path) => (DiscoveryType::Static, pipe(path)),
            Self::Tls { host, port, .. } => (discovery(host), socket(host, *port)),
        };
        Cluster {
            name: NAME.into(),
            connect_timeout: Some(seconds(1)),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
            dns_lookup_family: DnsLookupFamily::V4Only.into(),
            typed_extension_protocol_options: HashMap::from([(
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
                any(&self.http2()),
            )]),
            transport_socket: self.transport_socket(),
            load_assignment: Some(assignment(NAME, vec![address])),
            ..Cluster::default()
        }
    }

    fn http2(&self) -> HttpProtocolOptions {
        // A replica whose node lost its network sends nothing. Keepalives find that out, and Envoy connects to another
        // replica.
        let (interval, timeout) = match self {
            Self::Socket(_) => (30, 5),
            Self::Tls { .. } => (5, 5),
        };
        let keepalive = KeepaliveSettings {
            interval: Some(seconds(interval)),
            timeout: Some(seconds(timeout)),
            ..KeepaliveSettings::default()
        };
        let options = ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {
                connection_keepalive: Some(keepalive),
                ..Http2ProtocolOptions::default()
            })),
        };
        HttpProtocolOptions {
            upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(options)),
            ..HttpProtocolOptions::default()
        }
    }

    fn transport_socket(&self) -> Option<TransportSocket> {
        let Self::Tls { configuration, .. } = self else {
            return None;
        };
        let context = UpstreamTlsContext {
            sni: SERVER_NAME.into(),
            common_tls_context: Some(CommonTlsContext {
                tls_params: Some(TlsParameters {
                    tls_minimum_protocol_version: TlsProtocol::TlSv13.into(),
                    tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
                    ..TlsParameters::default()
                }),
                alpn_protocols: vec!["h2".into()],
                tls_certificate_sds_secret_configs: vec![IDENTITY.discovered(configuration)],
                validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                    CombinedCertificateValidationContext {
                        default_validation_context: Some(named(SERVER_NAME)),
                        validation_context_sds_secret_config: Some(
                            AUTHORITIES.discovered(configuration),
                        ),
                        ..CombinedCertificateValidationContext::default()
                    },
                )),
                ..CommonTlsContext::default()
            }),
            ..UpstreamTlsContext::default()
        };
        Some(transport_socket(&context))
    }
}
