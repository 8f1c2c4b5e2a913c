//! Certificates, keys and authorities that Envoy reads from files.
//!
//! They are named by file-based secret discovery, so that Envoy takes a replaced file for its next connection and needs no
//! restart.

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

/// A certificate with those between it and its authority, as Secrets of type `kubernetes.io/tls` call it.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// The certificate's key, likewise.
pub const KEY_FILE: &str = "tls.key";
/// Trusted authorities.
pub const AUTHORITY_FILE: &str = "ca.crt";

/// A file of secret discovery: it says in which files of a folder a certificate or authorities are.
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
    /// Of a certificate and its key: [`CERTIFICATE_FILE`] and [`KEY_FILE`].
    pub(super) const fn certificate(name: &'static str, file: &'static str) -> Self {
        Self {
            name,
            file,
            holds: Holds::Certificate,
        }
    }

    /// Of trusted authorities: [`AUTHORITY_FILE`].
    pub(super) const fn authorities(name: &'static str, file: &'static str) -> Self {
        Self {
            name,
            file,
            holds: Holds::Authorities,
        }
    }

    /// What stands in it. `folder` is where the certificate or the authorities are.
    pub(super) fn text(self, folder: &str) -> String {
        let file = |name: &str| json!({ "filename": format!("{folder}/{name}") });
        // The folder and not the files: in a mounted Secret, the files are links that stay, and what they lead to is replaced.
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

    /// Its secret, for a TLS context. `folder` is where this file is.
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

/// Wants a certificate for this DNS name; one for something else of the same authority will not do.
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

/// Speaks TLS as `context` says.
pub(super) fn transport_socket(context: &impl Name) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(ConfigType::TypedConfig(any(context))),
    }
}
