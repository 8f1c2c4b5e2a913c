//! Certificates, keys and authorities that Envoy reads from files.
//!
//! Envoy finds them by file-based secret discovery (SDS), so that it uses a replaced file for the next connection and
//! needs no restart.

use envoy_types::pb::envoy::config::core::v3::{
    ApiVersion, ConfigSource, PathConfigSource, TransportSocket, WatchedDirectory,
    config_source::ConfigSourceSpecifier, transport_socket::ConfigType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, SdsSecretConfig, SubjectAltNameMatcher,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use prost::Name;
use serde_json::{Value, json};

use super::wire::any;

/// File of a certificate and its intermediate certificates, in PEM; its key in a Secret of type `kubernetes.io/tls`.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// File of the certificate's private key, in PEM; its key in a Secret of type `kubernetes.io/tls`.
pub const KEY_FILE: &str = "tls.key";
/// File of the trusted certificate authorities, in PEM.
pub const AUTHORITY_FILE: &str = "ca.crt";

/// A file of secret discovery: it names the files of a folder that hold a certificate or authorities.
#[derive(Clone, Copy)]
pub(super) struct SecretFile {
    /// Envoy's name of the secret.
    name: &'static str,
    /// Name of the file.
    pub(super) file: &'static str,
    holds: Holds,
}

#[derive(Clone, Copy)]
enum Holds {
    Certificate,
    Authorities,
}

impl SecretFile {
    /// For a certificate and its key: [`CERTIFICATE_FILE`] and [`KEY_FILE`].
    pub(super) const fn certificate(name: &'static str, file: &'static str) -> Self {
        Self {
            name,
            file,
            holds: Holds::Certificate,
        }
    }

    /// For trusted authorities: [`AUTHORITY_FILE`].
    pub(super) const fn authorities(name: &'static str, file: &'static str) -> Self {
        Self {
            name,
            file,
            holds: Holds::Authorities,
        }
    }

    /// Content of the file. `folder` holds the certificate or the authorities.
    pub(super) fn text(self, folder: &str) -> String {
        let file = |name: &str| json!({ "filename": format!("{folder}/{name}") });
        // The folder and not the files: in a mounted Secret the files are symbolic links that stay, and their targets
        // change.
        let watched = json!({ "path": folder });
        let (kind, content): (&str, Value) = match self.holds {
            Holds::Certificate => (
                "tls_certificate",
                json!({
                    "certificate_chain": file(CERTIFICATE_FILE),
                    "private_key": file(KEY_FILE),
                    "watched_directory": watched,
                }),
            ),
            Holds::Authorities => (
                "validation_context",
                json!({
                    "trusted_ca": file(AUTHORITY_FILE),
                    "watched_directory": watched,
                }),
            ),
        };
        let secret = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": self.name,
            kind: content,
        });
        format!("{:#}\n", json!({ "resources": [secret] }))
    }

    /// Reference to the secret, for a TLS context. `folder` holds this file.
    pub(super) fn discovered(self, folder: &str) -> SdsSecretConfig {
        let source = PathConfigSource {
            path: format!("{folder}/{}", self.file),
            watched_directory: Some(WatchedDirectory {
                path: folder.into(),
                ..WatchedDirectory::default()
            }),
            ..PathConfigSource::default()
        };
        SdsSecretConfig {
            name: self.name.into(),
            sds_config: Some(ConfigSource {
                config_source_specifier: Some(ConfigSourceSpecifier::PathConfigSource(source)),
                resource_api_version: ApiVersion::V3.into(),
                ..ConfigSource::default()
            }),
        }
    }
}

/// Requires a certificate for this DNS name; another certificate of the same authority is rejected.
pub(super) fn named(server: &str) -> CertificateValidationContext {
    CertificateValidationContext {
        match_typed_subject_alt_names: vec![SubjectAltNameMatcher {
            san_type: SanType::Dns.into(),
            matcher: Some(StringMatcher {
                match_pattern: Some(MatchPattern::Exact(server.into())),
                ..StringMatcher::default()
            }),
            ..SubjectAltNameMatcher::default()
        }],
        ..CertificateValidationContext::default()
    }
}

/// A transport socket that uses TLS with `context`.
pub(super) fn transport_socket(context: &impl Name) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(ConfigType::TypedConfig(any(context))),
    }
}
