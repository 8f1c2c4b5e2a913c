//! Where a proxy asks for its configuration: Vaultwall on a Unix socket beside it, or the operator over mutual TLS.
//!
//! Certificates come from files by file-based secret discovery, so that Envoy takes a replaced file for its next
//! connection and needs no restart.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily,
};
use envoy_types::pb::envoy::config::core::v3::{
    ApiVersion, ConfigSource, Http2ProtocolOptions, KeepaliveSettings, PathConfigSource,
    TransportSocket, WatchedDirectory, config_source::ConfigSourceSpecifier, transport_socket,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use serde_json::{Value, json};

use super::cluster::assignment;
use super::listener::socket;
use super::wire::{any, seconds};

/// Name of the cluster.
pub(super) const NAME: &str = "vaultwall-xds";
/// The DNS name in the operator's certificate, whatever address it is reached at.
pub const SERVER_NAME: &str = "vaultwall";
/// The proxy's certificate, in [`XdsServer::Tls::certificates`].
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// The certificate's key.
pub const KEY_FILE: &str = "tls.key";
/// The authorities of which one signs the operator's certificate.
pub const AUTHORITY_FILE: &str = "ca.crt";
/// The secret that is the proxy's own certificate, and the one that holds the trusted authorities.
const IDENTITY: &str = "identity";
const AUTHORITIES: &str = "authorities";
/// The files that say where the certificates are.
const IDENTITY_FILE: &str = "sds-identity.json";
const AUTHORITIES_FILE: &str = "sds-ca.json";

/// Where a proxy asks for its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdsServer {
    /// Vaultwall on a Unix socket at this path.
    Socket(String),
    /// The operator, over mutual TLS.
    Tls {
        /// IPv4 address or DNS name.
        host: String,
        /// Port.
        port: u16,
        /// Folder with [`CERTIFICATE_FILE`], [`KEY_FILE`] and [`AUTHORITY_FILE`].
        certificates: String,
        /// Folder with the files of [`XdsServer::files`].
        configuration: String,
    },
}

impl XdsServer {
    /// The files, by name, that Envoy needs beside its bootstrap. There is nothing secret in them.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let Self::Tls { certificates, .. } = self else {
            return Vec::new();
        };
        let file = |name: &str| json!({ "filename": format!("{certificates}/{name}") });
        // The folder and not the files: in a mounted Secret, the files are links that stay, and what they lead to is replaced.
        let watched = json!({ "path": certificates });
        let identity = json!({
            "certificate_chain": file(CERTIFICATE_FILE),
            "private_key": file(KEY_FILE),
            "watched_directory": watched,
        });
        let authorities = json!({
            "trusted_ca": file(AUTHORITY_FILE),
            "watched_directory": watched,
        });
        vec![
            (
                IDENTITY_FILE,
                secret(IDENTITY, "tls_certificate", &identity),
            ),
            (
                AUTHORITIES_FILE,
                secret(AUTHORITIES, "validation_context", &authorities),
            ),
        ]
    }

    /// The cluster that leads there.
    pub(super) fn cluster(&self) -> Cluster {
        let (discovery, address) = match self {
            Self::Socket(path) => (DiscoveryType::Static, super::bootstrap::pipe(path)),
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
        // A node that is cut off says nothing; the sooner that is noticed, the sooner another replica is asked.
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
        let secret = |name: &str, file: &str| SdsSecretConfig {
            name: name.into(),
            sds_config: Some(from_file(configuration, file)),
        };
        let server_name = CertificateValidationContext {
            match_typed_subject_alt_names: vec![SubjectAltNameMatcher {
                san_type: SanType::Dns.into(),
                matcher: Some(StringMatcher {
                    match_pattern: Some(MatchPattern::Exact(SERVER_NAME.into())),
                    ..StringMatcher::default()
                }),
                ..SubjectAltNameMatcher::default()
            }],
            ..CertificateValidationContext::default()
        };
        let validation = CombinedCertificateValidationContext {
            default_validation_context: Some(server_name),
            validation_context_sds_secret_config: Some(secret(AUTHORITIES, AUTHORITIES_FILE)),
            ..CombinedCertificateValidationContext::default()
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
                tls_certificate_sds_secret_configs: vec![secret(IDENTITY, IDENTITY_FILE)],
                validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                    validation,
                )),
                ..CommonTlsContext::default()
            }),
            ..UpstreamTlsContext::default()
        };
        Some(TransportSocket {
            name: "envoy.transport_sockets.tls".into(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
        })
    }
}

/// A host that is an address is not looked up.
fn discovery(host: &str) -> DiscoveryType {
    if host.parse::<std::net::Ipv4Addr>().is_ok() {
        DiscoveryType::Static
    } else {
        DiscoveryType::StrictDns
    }
}

fn from_file(folder: &str, file: &str) -> ConfigSource {
    let source = PathConfigSource {
        path: format!("{folder}/{file}"),
        watched_directory: Some(WatchedDirectory {
            path: folder.into(),
            ..WatchedDirectory::default()
        }),
        ..PathConfigSource::default()
    };
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::PathConfigSource(source)),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}

/// A file of secret discovery with one secret.
fn secret(name: &str, kind: &str, content: &Value) -> String {
    let secret = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        kind: content,
    });
    format!("{:#}\n", json!({ "resources": [secret] }))
}
