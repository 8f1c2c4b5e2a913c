//! Credentials of one side of a connection: a certificate, its key and the authorities that it trusts.
//!
//! Both sides present a certificate, over TLS 1.3 only. Sessions are not resumed, because a resumed session would skip
//! the check of the client's certificate.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A part is not readable as PEM.
    #[error("{part}: not readable as PEM: {problem}")]
    Pem {
        /// Name of the part, as it stands in the message.
        part: &'static str,
        /// The error of the PEM reader.
        problem: rustls::pki_types::pem::Error,
    },
    /// The TLS library refuses the combination.
    #[error("certificate, key and authorities cannot be used together: {0}")]
    Refused(#[from] rustls::Error),
    /// The authorities cannot be used to verify certificates of clients.
    #[error("the trusted authorities cannot be used: {0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
}

/// A certificate, its key, and the trusted authorities.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
    server: ServerConfig,
}

impl fmt::Debug for Credentials {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads credentials from PEM: a certificate chain, its private key, and the certificates of the trusted
    /// authorities.
    ///
    /// # Errors
    /// A part is not readable, or the parts do not fit together.
    pub fn from_pem(
        certificate: &str,
        key: &str,
        authorities: &str,
    ) -> Result<Self, CredentialsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates("the certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|problem| {
            CredentialsError::Pem {
                part: "the private key",
                problem,
            }
        })?;
        let mut roots = RootCertStore::empty();
        for authority in certificates("the trusted authorities", authorities)? {
            roots.add(authority)?;
        }
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            provider,
            chain,
            key,
            roots,
            verifier,
            server,
        })
    }

    /// Configuration of the side that accepts connections. `protocols` are the ALPN names that it serves, preferred
    /// first.
    pub fn server<'a>(&self, protocols: impl IntoIterator<Item = &'a [u8]>) -> ServerConfig {
        let mut server = self.server.clone();
        server.alpn_protocols = protocols.into_iter().map(<[u8]>::to_vec).collect();
        server
    }

    /// Configuration of the side that opens connections of one protocol (ALPN name).
    ///
    /// # Errors
    /// The TLS library refuses the certificate or its key.
    pub fn client(&self, protocol: &[u8]) -> Result<ClientConfig, CredentialsError> {
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        client.alpn_protocols = vec![protocol.to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(client)
    }

    /// Checks whether a client's certificate chain is trusted and valid now.
    pub(crate) fn check_client(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let (own, intermediates) = chain
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier
            .verify_client_cert(own, intermediates, UnixTime::now())
            .map(drop)
    }
}

fn certificates(
    part: &'static str,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(CredentialsError::Pem {
            part,
            problem: rustls::pki_types::pem::Error::NoItemsFound,
        }),
        Err(problem) => Err(CredentialsError::Pem { part, problem }),
    }
}
