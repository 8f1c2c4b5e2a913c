//! An Envoy that is configured by xDS, between `bao` and a vault with TLS; certificates are in folders like mounted
//! Secrets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vaultwall::compile::envoy::{
    self, AUTHORITY_FILE, Bootstrap, CERTIFICATE_FILE, KEY_FILE, Proxy, Tls, Upstream, VaultTls,
    XdsServer,
};
use vaultwall::policy::{DefaultAction, Firewall, VaultId};
use vaultwall::transport::{bind_unix, serve_unix};
use vaultwall::xds::{NotProgrammed, Resource, Snapshot, SnapshotStore};

use testkit::client::TOKEN;
use testkit::mounted_files::mount;
use testkit::wait::TIMEOUT;
use testkit::{OpenBao, Process, own_address, tool};

/// Name in the certificate of the vault.
pub(crate) const VAULT_NAME: &str = "openbao.vault.svc";
/// Port of the vault with TLS; the one of development mode, without TLS, is [`PLAIN`].
const VAULT: u16 = 8200;
const PLAIN: u16 = 8210;
const DATA: u16 = 8300;
const NODE: &str = "vault/openbao";

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(AUTHORITY_FILE), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(AUTHORITY_FILE)
    }

    /// Returns a certificate and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

pub(crate) struct Setup {
    folder: TempDir,
    address: Ipv4Addr,
    /// Authority of the endpoints' certificate.
    pub(crate) clients: Authority,
    /// Authority of the vault's certificate.
    pub(crate) vault: Authority,
    store: Arc<SnapshotStore>,
    runtime: Runtime,
    // In the order in which they end.
    envoy: Option<Process>,
    openbao: Option<OpenBao>,
}

impl Setup {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut setup = Self {
            folder: tempfile::tempdir().unwrap(),
            address: own_address(),
            clients: Authority::new("clients"),
            vault: Authority::new("vault"),
            store: Arc::new(SnapshotStore::new()),
            runtime,
            envoy: None,
            openbao: None,
        };
        setup.mount_certificate(&setup.clients);
        setup.mount_authority(&setup.vault);
        fs::create_dir(setup.at("configuration")).unwrap();
        for (name, text) in setup.tls(Some(VAULT_NAME)).files() {
            fs::write(setup.at("configuration").join(name), text).unwrap();
        }
        let listener = {
            let _inside = setup.runtime.enter();
            bind_unix(&setup.at("xds.sock")).unwrap()
        };
        let never = std::future::pending();
        setup
            .runtime
            .spawn(serve_unix(listener, setup.store.clone(), never));
        setup.start_vault();
        setup.start_envoy();
        setup
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    fn start_vault(&mut self) {
        let (certificate, key) = self.vault.issue(VAULT_NAME);
        fs::write(self.at("vault.crt"), certificate).unwrap();
        fs::write(self.at("vault.key"), key).unwrap();
        let listener = format!(
            "listener \"tcp\" {{\n  address = \"{}:{VAULT}\"\n  tls_cert_file = {:?}\n  tls_key_file = {:?}\n}}\n",
            self.address,
            self.text("vault.crt"),
            self.text("vault.key"),
        );
        fs::write(self.at("vault.hcl"), listener).unwrap();
        let configuration = format!("-config={}", self.text("vault.hcl"));
        let plain = SocketAddrV4::new(self.address, PLAIN);
        let folder = self.folder.path();
        self.openbao = Some(OpenBao::start_with(plain, folder, &[&configuration]));
        let put = ["kv", "put", "-mount=secret", "app", "word=greeting"];
        let output = bao(&format!("http://{plain}"), &self.vault, &put);
        assert!(output.contains("created_time"), "{output}");
    }

    fn start_envoy(&mut self) {
        let bootstrap = Bootstrap {
            node_id: NODE.to_owned(),
            xds: XdsServer::Socket(self.text("xds.sock")),
            admin_socket: self.text("admin.sock"),
            metrics: None,
            memory: None,
        };
        fs::write(self.at("bootstrap.pb"), bootstrap.message().encode_to_vec()).unwrap();
        let arguments = ["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"];
        let folder = self.folder.path();
        let process = testkit::envoy::start(&self.at("bootstrap.pb"), &arguments, folder);
        self.envoy = Some(process);
    }

    /// Replaces the certificate of the endpoints by one of this authority.
    pub(crate) fn mount_certificate(&self, authority: &Authority) {
        let (certificate, key) = authority.issue(&self.address.to_string());
        mount(
            &self.at("clients"),
            &[(CERTIFICATE_FILE, certificate), (KEY_FILE, key)],
        );
    }

    /// Replaces the authority that the vault's certificate has to be signed by.
    pub(crate) fn mount_authority(&self, authority: &Authority) {
        mount(
            &self.at("vault"),
            &[(AUTHORITY_FILE, authority.issuer.pem())],
        );
    }

    fn tls(&self, server_name: Option<&str>) -> Tls {
        Tls {
            configuration: self.text("configuration"),
            clients: Some(self.text("clients")),
            vault: server_name.map(|name| VaultTls {
                authorities: self.text("vault"),
                server_name: name.to_owned(),
            }),
        }
    }

    /// Configures TLS for clients, and for a vault of this name; without a name, plain HTTP to the vault.
    pub(crate) fn program(&self, server_name: Option<&str>, open: bool) {
        self.publish(self.tls(server_name), VAULT, open).unwrap();
    }

    /// Configures plain HTTP on both sides.
    pub(crate) fn program_plain(&self) {
        self.publish(Tls::default(), PLAIN, true).unwrap();
    }

    /// Configures TLS with files that do not exist; returns Envoy's errors.
    pub(crate) fn program_without_files(&self) -> Vec<String> {
        let nowhere = Tls {
            configuration: self.text("nowhere"),
            ..self.tls(Some(VAULT_NAME))
        };
        match self.publish(nowhere, PLAIN, true) {
            Err(NotProgrammed::Rejected { rejections, .. }) => rejections
                .into_iter()
                .map(|rejection| rejection.message)
                .collect(),
            other => panic!("not refused: {other:?}"),
        }
    }

    fn publish(&self, tls: Tls, vault_port: u16, open: bool) -> Result<(), NotProgrammed> {
        let vault = VaultId {
            namespace: "vault".into(),
            service: "openbao".into(),
        };
        let firewall = Firewall {
            default_action: if open {
                DefaultAction::Allow
            } else {
                DefaultAction::Deny
            },
            ..Firewall::deny_all(vault, 8200)
        };
        let listening = |port| SocketAddrV4::new(self.address, port);
        let proxy = Proxy {
            data: listening(DATA),
            management: listening(8400),
            upstream: Some(Upstream {
                host: self.address.to_string(),
                port: vault_port,
            }),
            access_log: "/dev/null".into(),
            tls,
            streams_denials: false,
            http2: None,
        };
        let made = envoy::configuration(&firewall, &firewall.table(), &proxy);
        let fixed = made.clusters.iter().map(Resource::new);
        let fixed = fixed.chain(made.listeners.iter().map(Resource::new));
        let fixed = fixed.chain(made.routes.iter().map(Resource::new));
        let resources = fixed.chain(made.extensions.iter().map(Resource::new));
        let version = self.store.publish(NODE, Snapshot::new(resources.collect()));
        let answered = self.store.wait_programmed(NODE, &version);
        self.runtime
            .block_on(async { tokio::time::timeout(TIMEOUT, answered).await })
            .expect("Envoy answers")
    }

    /// Returns the output of `bao` that reads the secret through the proxy and trusts `authority`.
    pub(crate) fn request(&self, scheme: &str, authority: &Authority) -> String {
        let address = format!("{scheme}://{}:{DATA}", self.address);
        bao(&address, authority, &["kv", "get", "-mount=secret", "app"])
    }

    pub(crate) fn wait_for_answer(&self, what: &str, is: impl Fn(&str) -> bool) {
        self.wait_for_answer_with(what, &self.clients, is);
    }

    pub(crate) fn wait_for_answer_with(
        &self,
        what: &str,
        authority: &Authority,
        is: impl Fn(&str) -> bool,
    ) {
        let mut last = String::new();
        let started = Instant::now();
        while !is(&last) {
            assert!(started.elapsed() < TIMEOUT, "{what}: {last}");
            last = self.request("https", authority);
        }
    }
}

fn bao(address: &str, authority: &Authority, arguments: &[&str]) -> String {
    let output = Command::new(tool("bao"))
        .args(arguments)
        .env("VAULT_ADDR", address)
        .env("VAULT_TOKEN", TOKEN)
        .env("VAULT_CACERT", authority.file())
        .env("VAULT_MAX_RETRIES", "0")
        .env("HOME", authority.folder.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}
