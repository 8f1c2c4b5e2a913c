//! The operator's certificate authority, and the certificates that it issues to proxies and to replicas of the
//! operator.
//!
//! Pure except for the randomness of keys: callers store the certificates and pass the time.
//!
//! | certificate | lifetime | usage | names |
//! |---|---|---|---|
//! | authority | 10 years | signing | |
//! | proxy | 90 days | client | URI `spiffe://vaultwall.dev/ns/NAMESPACE/vault/SERVICE` |
//! | replica | 90 days | server and client | DNS `vaultwall` and its hosts, URI `spiffe://vaultwall.dev/operator` |
//!
//! A certificate is renewed after two thirds of its lifetime. To replace the authority, delete its Secret: the operator
//! creates a new one and issues all certificates again. Proxies keep enforcing what they have, and connect again when
//! their new Secret has reached them. To replace it without that gap, first add the new certificate to `ca.crt` next to
//! the old one; replace `ca.key` when all proxies have both; remove the old certificate when all proxies have a
//! certificate of the new authority. All certificates in `ca.crt` are trusted, and the one that belongs to the key
//! signs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::clock::after;
use crate::compile::envoy::AUTHORITY_FILE;
use crate::policy::{VaultId, is_dns_label};
use crate::transport::credentials::{Credentials, CredentialsError};

pub use crate::compile::envoy::SERVER_NAME;

/// Key of the trusted certificates (PEM) in the authority's Secret and in a proxy's.
pub const CA_CERTIFICATE: &str = AUTHORITY_FILE;
/// Key of the private key (PEM) in the authority's Secret.
pub const CA_KEY: &str = "ca.key";

const DAY: Duration = Duration::from_hours(24);
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(24 * 3652);
/// Lifetime of a certificate of a proxy or a replica.
pub const LEAF_LIFE: Duration = DAY.saturating_mul(90);
/// How far a peer's clock may be behind, in seconds: certificates begin that much earlier.
const CLOCK_SKEW_SECONDS: i64 = 300;

const OPERATOR: &str = "spiffe://vaultwall.dev/operator";
const NAMESPACES: &str = "spiffe://vaultwall.dev/ns/";

/// Identity in a certificate of the authority. Its text form is the URI in the subject's alternative names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// A proxy of this vault's firewall.
    Proxy(VaultId),
    /// A replica of the operator.
    Operator,
}

impl fmt::Display for Identity {
    /// The identity's URI.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(VaultId { namespace, service }) => {
                write!(formatter, "{NAMESPACES}{namespace}/vault/{service}")
            }
            Self::Operator => formatter.write_str(OPERATOR),
        }
    }
}

/// A URI that is not exactly in the form that the authority writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URI is not one of `{OPERATOR}` and `{NAMESPACES}NAMESPACE/vault/SERVICE`")]
pub struct UnknownIdentity;

impl FromStr for Identity {
    type Err = UnknownIdentity;

    fn from_str(uri: &str) -> Result<Self, UnknownIdentity> {
        if uri == OPERATOR {
            return Ok(Self::Operator);
        }
        let vault = uri.strip_prefix(NAMESPACES);
        let vault = vault.and_then(|vault| vault.split_once("/vault/"));
        match vault {
            Some((namespace, service)) if is_dns_label(namespace) && is_dns_label(service) => {
                Ok(Self::Proxy(VaultId {
                    namespace: namespace.to_owned(),
                    service: service.to_owned(),
                }))
            }
            _ => Err(UnknownIdentity),
        }
    }
}

/// Why an authority or a certificate cannot be used or issued.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The Secret does not have this key.
    #[error(
        "the authority's Secret has no `{0}`; delete the Secret: a new authority is then created, and all \
         certificates are issued again"
    )]
    Missing(&'static str),
    /// The value of a key cannot be used.
    #[error(
        "`{key}` of the authority's Secret cannot be read: {problem}; restore the earlier value, or delete the \
         Secret: a new authority is then created"
    )]
    Unreadable {
        /// The key in the Secret.
        key: &'static str,
        /// The error of the parser.
        problem: String,
    },
    /// No certificate belongs to the private key.
    #[error(
        "no certificate in `ca.crt` of the authority's Secret is that of an authority and belongs to `ca.key`; \
         restore the earlier values, or delete the Secret: a new authority is then created"
    )]
    NoPair,
    /// A name that cannot be written in a certificate.
    #[error("{name}: cannot be written in a certificate: {problem}")]
    Name {
        /// The DNS name or URI.
        name: String,
        /// The error of the parser.
        problem: String,
    },
    /// A key or a certificate cannot be generated.
    #[error("the certificate cannot be generated: {0}")]
    Issue(#[from] rcgen::Error),
}

/// A certificate with its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate (PEM).
    pub certificate_pem: String,
    /// Its private key (PEM). It is secret and must not be logged.
    pub key_pem: String,
    /// End of its validity.
    pub not_after: Timestamp,
}

impl fmt::Debug for Issued {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Issued")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The operator's own certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// All trusted certificates, including the one above.
    trusted_pem: String,
    not_after: Timestamp,
}

impl fmt::Debug for Authority {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Generates a new authority, valid for ten years.
    ///
    /// # Errors
    /// The key or the certificate cannot be generated.
    pub fn generate(now: Timestamp) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // A unique name, so that verifiers can distinguish the old and the new authority while both are trusted.
        params.distinguished_name = common_name(&format!("Vaultwall authority of {now:.0}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let not_after = after(now, AUTHORITY_LIFETIME);
        set_validity(&mut params, now, not_after);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            trusted_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            not_after,
        })
    }

    /// Reads the authority from the data of its Secret.
    ///
    /// # Errors
    /// A key is missing or unreadable, or no certificate belongs to the private key.
    pub fn from_secret_data(data: &BTreeMap<String, ByteString>) -> Result<Self, CertificateError> {
        let text = |key: &'static str| {
            let bytes = data.get(key).ok_or(CertificateError::Missing(key))?;
            String::from_utf8(bytes.0.clone()).map_err(|error| unreadable(key, error))
        };
        let trusted_pem = text(CA_CERTIFICATE)?;
        let key = KeyPair::from_pem(&text(CA_KEY)?).map_err(|error| unreadable(CA_KEY, error))?;
        let certificates = CertificateDer::pem_slice_iter(trusted_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unreadable(CA_CERTIFICATE, error))?;
        let mut signing = None;
        // All certificates are checked: proxies and replicas receive all of them, and refuse all if one is invalid.
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let (_, parsed) = X509Certificate::from_der(certificate)
                .map_err(|error| unreadable(CA_CERTIFICATE, error))?;
            roots
                .add(certificate.clone())
                .map_err(|error| unreadable(CA_CERTIFICATE, error))?;
            if signing.is_none() && parsed.is_ca() && is_pair(&parsed, &key) {
                signing = Some((certificate, moment(&parsed.validity().not_after)));
            }
        }
        let (certificate, not_after) = signing.ok_or(CertificateError::NoPair)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(certificate, key)?,
            certificate: certificate.clone(),
            trusted_pem,
            not_after,
        })
    }

    /// Whether the other authority trusts the same certificates and signs with the same one.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.trusted_pem == other.trusted_pem && self.certificate == other.certificate
    }

    /// Data of its Secret, of type `Opaque`.
    pub fn secret_data(&self) -> BTreeMap<String, ByteString> {
        let entry = |key: &str, text: String| (key.to_owned(), ByteString(text.into_bytes()));
        BTreeMap::from([
            entry(CA_CERTIFICATE, self.trusted_pem.clone()),
            entry(CA_KEY, self.issuer.key().serialize_pem()),
        ])
    }

    /// All trusted certificates, concatenated (PEM).
    pub fn ca_pem(&self) -> &str {
        &self.trusted_pem
    }

    /// End of its validity. Certificates that it issues end no later.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Issues a certificate for the proxies of a vault.
    ///
    /// # Errors
    /// The certificate cannot be generated.
    pub fn proxy(&self, vault: &VaultId, now: Timestamp) -> Result<Issued, CertificateError> {
        self.issue(
            &Identity::Proxy(vault.clone()),
            &[],
            &[ExtendedKeyUsagePurpose::ClientAuth],
            now,
        )
    }

    /// Issues a certificate for a replica of the operator, for these DNS names and [`SERVER_NAME`].
    ///
    /// # Errors
    /// A name is invalid, or the certificate cannot be generated.
    pub fn replica(&self, names: &[String], now: Timestamp) -> Result<Issued, CertificateError> {
        let mut all = vec![SERVER_NAME.to_owned()];
        all.extend(names.iter().filter(|name| *name != SERVER_NAME).cloned());
        self.issue(
            &Identity::Operator,
            &all,
            &[
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            now,
        )
    }

    /// Credentials of a replica, which serves proxies and connects to the leader with them.
    ///
    /// # Errors
    /// The TLS library refuses the certificate.
    pub fn credentials(&self, replica: &Issued) -> Result<Credentials, CredentialsError> {
        Credentials::from_pem(
            &replica.certificate_pem,
            &replica.key_pem,
            &self.trusted_pem,
        )
    }

    fn issue(
        &self,
        identity: &Identity,
        dns_names: &[String],
        usages: &[ExtendedKeyUsagePurpose],
        now: Timestamp,
    ) -> Result<Issued, CertificateError> {
        let ascii = |name: &str| {
            name.try_into().map_err(|error| CertificateError::Name {
                name: name.to_owned(),
                problem: format!("{error}"),
            })
        };
        let uri = identity.to_string();
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Vaultwall");
        params.subject_alt_names = vec![SanType::URI(ascii(&uri)?)];
        for name in dns_names {
            params
                .subject_alt_names
                .push(SanType::DnsName(ascii(name)?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        let not_after = after(now, LEAF_LIFE).min(self.not_after);
        set_validity(&mut params, now, not_after);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            not_after,
        })
    }

    /// Renewal and end of a certificate. `None` if the certificate is unusable: it is not readable, not issued by this
    /// authority, not for this identity, does not belong to this private key, or is not valid yet.
    pub fn lifetime(
        &self,
        certificate_pem: &str,
        key_pem: &str,
        identity: &Identity,
        now: Timestamp,
    ) -> Option<Lifetime> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).ok()?;
        let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
        let (_, authority) = X509Certificate::from_der(&self.certificate).ok()?;
        parsed.verify_signature(Some(authority.public_key())).ok()?;
        let is_its_own = is_pair(&parsed, &KeyPair::from_pem(key_pem).ok()?);
        if !is_its_own || identity_of_parsed(&parsed).as_ref() != Some(identity) {
            return None;
        }
        let begin = moment(&parsed.validity().not_before);
        let not_after = moment(&parsed.validity().not_after);
        if now < begin {
            return None;
        }
        let (begin, end) = (begin.as_second(), not_after.as_second());
        let renew_at = Timestamp::from_second(begin + (end - begin) / 3 * 2).ok()?;
        Some(Lifetime {
            renew_at,
            not_after,
        })
    }
}

/// Renewal and end of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When to issue it again: after two thirds of its lifetime.
    pub renew_at: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
}

/// Identity in a peer's certificate (DER). A certificate has one only if it contains exactly one URI, in exactly the
/// form that the authority writes. The TLS handshake has verified the certificate before.
pub fn identity_of(certificate: &[u8]) -> Option<Identity> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    if !rest.is_empty() {
        return None;
    }
    identity_of_parsed(&parsed)
}

/// xDS node that the owner of a certificate (DER) may ask for: a proxy for that of its vault, all others for none.
pub fn node_of(certificate: &[u8]) -> Option<String> {
    match identity_of(certificate)? {
        Identity::Proxy(vault) => Some(vault.to_string()),
        Identity::Operator => None,
    }
}

fn identity_of_parsed(certificate: &X509Certificate<'_>) -> Option<Identity> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    let uri = uris.next()?;
    if uris.next().is_some() {
        return None;
    }
    uri.parse().ok()
}

fn is_pair(certificate: &X509Certificate<'_>, key: &KeyPair) -> bool {
    certificate.public_key().raw == key.subject_public_key_info()
}

fn unreadable(key: &'static str, problem: impl fmt::Display) -> CertificateError {
    CertificateError::Unreadable {
        key,
        problem: problem.to_string(),
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, end: Timestamp) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    params.not_before = epoch + since(now.as_second() - CLOCK_SKEW_SECONDS);
    params.not_after = epoch + since(end.as_second());
}

fn moment(time: &x509_parser::time::ASN1Time) -> Timestamp {
    Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
