//! Certificates, keys and tokens of an API server, as files.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

/// Token of the user `admin`, who may do everything.
pub(super) const ADMIN: &str = "all-rights-never-to-be-logged";

pub(super) struct Credentials {
    /// Certificate authority that signed the certificate of the server.
    pub(super) authority: CertificateDer<'static>,
    pub(super) authority_file: PathBuf,
    folder: PathBuf,
}

impl Credentials {
    pub(super) fn write(address: Ipv4Addr, folder: &Path) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = authority.self_signed(&authority_key).unwrap();
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new([address.to_string()])
            .unwrap()
            .signed_by(&server_key, &Issuer::new(authority, authority_key))
            .unwrap();
        let credentials = Self {
            authority: certificate.der().clone(),
            authority_file: folder.join("authority.crt"),
            folder: folder.to_owned(),
        };
        let service_accounts = KeyPair::generate().unwrap();
        for (name, content) in [
            ("authority.crt", certificate.pem()),
            ("server.crt", server.pem()),
            ("server.key", server_key.serialize_pem()),
            ("service-accounts.key", service_accounts.serialize_pem()),
            ("service-accounts.pub", service_accounts.public_key_pem()),
            (
                "tokens.csv",
                format!("{ADMIN},admin,admin,system:masters\n"),
            ),
        ] {
            fs::write(folder.join(name), content).unwrap();
        }
        credentials
    }

    /// Options of kube-apiserver with these files.
    pub(super) fn files(&self) -> [(&'static str, PathBuf); 6] {
        [
            ("tls-cert-file", "server.crt"),
            ("tls-private-key-file", "server.key"),
            ("service-account-key-file", "service-accounts.pub"),
            ("service-account-signing-key-file", "service-accounts.key"),
            ("token-auth-file", "tokens.csv"),
            // Where it would write certificates that the first two options do not give.
            ("cert-dir", "generated"),
        ]
        .map(|(option, name)| (option, self.folder.join(name)))
    }
}
