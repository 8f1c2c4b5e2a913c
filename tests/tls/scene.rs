//! An Envoy that is told by xDS, between `bao` and a vault that speaks TLS; certificates lie in folders like mounted Secrets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vaultwall::compile::envoy::{
    self, AUTHORITY_FILE, Bootstrap, CERTIFICATE_FILE, KEY_FILE, Proxy, Tls, Upstream, VaultTls,
    XdsServer,
};
use vaultwall::policy::{DefaultAction, Firewall, VaultId};
use vaultwall::xds::{NotProgrammed, Resource, Snapshot, SnapshotStore, bind_unix, serve_unix};

use crate::loopback::own_address;
use crate::tool::tool;

/// The name in the vault's certificate.
pub(crate) const VAULT_NAME: &str = "openbao.vault.svc";
/// The port of the vault that speaks TLS; on [`PLAIN`] it speaks HTTP, which development mode does by itself.
const VAULT: u16 = 8200;
const PLAIN: u16 = 8210;
const DATA: u16 = 8300;
const NODE: &str = "vault/openbao";
const ROOT: &str = "root-token-of-the-test";
/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who signs certificates.
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

    /// A certificate and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

pub(crate) struct Scene {
    folder: TempDir,
    address: Ipv4Addr,
    /// Signs the endpoints' certificate.
    pub(crate) clients: Authority,
    /// Signs the vault's.
    pub(crate) vault: Authority,
    mounted: AtomicU32,
    store: Arc<SnapshotStore>,
    runtime: Runtime,
    processes: Vec<Child>,
}

impl Scene {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut scene = Self {
            folder: tempfile::tempdir().unwrap(),
            address: own_address(),
            clients: Authority::new("clients"),
            vault: Authority::new("vault"),
            mounted: AtomicU32::new(0),
            store: Arc::new(SnapshotStore::new()),
            runtime,
            processes: Vec::new(),
        };
        scene.mount_certificate(&scene.clients);
        scene.mount_authority(&scene.vault);
        fs::create_dir(scene.at("configuration")).unwrap();
        for (name, text) in scene.tls(Some(VAULT_NAME)).files() {
            fs::write(scene.at("configuration").join(name), text).unwrap();
        }
        let listener = {
            let _inside = scene.runtime.enter();
            bind_unix(&scene.at("xds.sock")).unwrap()
        };
        let never = std::future::pending();
        scene
            .runtime
            .spawn(serve_unix(listener, scene.store.clone(), never));
        scene.start_vault();
        scene.start_envoy();
        scene
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
        let plain = SocketAddrV4::new(self.address, PLAIN);
        let process = Command::new(tool("bao"))
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-config={}", self.text("vault.hcl")))
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address={plain}"))
            .env("HOME", self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.processes.push(process);
        soon("OpenBao keeps a secret", || {
            let put = ["kv", "put", "-mount=secret", "app", "word=greeting"];
            bao(&format!("http://{plain}"), &self.vault, &put)
                .contains("created_time")
                .then_some(())
        });
    }

    fn start_envoy(&mut self) {
        let bootstrap = Bootstrap {
            node_id: NODE.to_owned(),
            xds: XdsServer::Socket(self.text("xds.sock")),
            admin_socket: self.text("admin.sock"),
            metrics: None,
        };
        fs::write(self.at("bootstrap.pb"), bootstrap.message().encode_to_vec()).unwrap();
        let process = Command::new(tool("envoy"))
            .args([
                "--use-dynamic-base-id",
                "--concurrency",
                "1",
                "-l",
                "error",
                "-c",
            ])
            .arg(self.at("bootstrap.pb"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.at("envoy.log")).unwrap())
            .spawn()
            .unwrap();
        self.processes.push(process);
    }

    /// The endpoints' certificate is now one of this authority.
    pub(crate) fn mount_certificate(&self, authority: &Authority) {
        let (certificate, key) = authority.issue(&self.address.to_string());
        self.mount(
            "clients",
            &[(CERTIFICATE_FILE, certificate), (KEY_FILE, key)],
        );
    }

    /// The vault's certificate is now expected from this authority.
    pub(crate) fn mount_authority(&self, authority: &Authority) {
        self.mount("vault", &[(AUTHORITY_FILE, authority.issuer.pem())]);
    }

    /// As a kubelet does: the files are links through `..data`, and that link is replaced.
    fn mount(&self, volume: &str, files: &[(&str, String)]) {
        let volume = self.at(volume);
        let generation = format!("..{}", self.mounted.fetch_add(1, Ordering::Relaxed));
        fs::create_dir_all(volume.join(&generation)).unwrap();
        for (name, content) in files {
            fs::write(volume.join(&generation).join(name), content).unwrap();
            let link = volume.join(name);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        symlink(&generation, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
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

    /// Speaks TLS to clients, and to a vault of this name; without a name, plain HTTP to it.
    pub(crate) fn program(&self, server_name: Option<&str>, open: bool) {
        self.publish(self.tls(server_name), VAULT, open).unwrap();
    }

    /// Speaks plain HTTP on both sides.
    pub(crate) fn program_plain(&self) {
        self.publish(Tls::default(), PLAIN, true).unwrap();
    }

    /// Is told to speak TLS with files that are not there; Envoy's words.
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
        };
        let made = envoy::configuration(&firewall, &firewall.table(), &proxy);
        let fixed = made.clusters.iter().map(Resource::new);
        let fixed = fixed.chain(made.listeners.iter().map(Resource::new));
        let fixed = fixed.chain(made.routes.iter().map(Resource::new));
        let resources = fixed.chain(made.extensions.iter().map(Resource::new));
        let version = self.store.publish(NODE, Snapshot::new(resources.collect()));
        let answered = self.store.wait_programmed(NODE, &version);
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, answered).await })
            .expect("Envoy answers")
    }

    /// What `bao` says that reads the secret through the proxy and believes `authority`.
    pub(crate) fn asks(&self, scheme: &str, authority: &Authority) -> String {
        let address = format!("{scheme}://{}:{DATA}", self.address);
        bao(&address, authority, &["kv", "get", "-mount=secret", "app"])
    }

    pub(crate) fn comes_to(&self, what: &str, is: impl Fn(&str) -> bool) {
        self.comes_to_with(what, &self.clients, is);
    }

    pub(crate) fn comes_to_with(
        &self,
        what: &str,
        authority: &Authority,
        is: impl Fn(&str) -> bool,
    ) {
        let mut last = String::new();
        let started = Instant::now();
        while !is(&last) {
            assert!(started.elapsed() < PATIENCE, "{what}: {last}");
            last = self.asks("https", authority);
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

fn bao(address: &str, authority: &Authority, arguments: &[&str]) -> String {
    let output = Command::new(tool("bao"))
        .args(arguments)
        .env("VAULT_ADDR", address)
        .env("VAULT_TOKEN", ROOT)
        .env("VAULT_CACERT", authority.file())
        .env("VAULT_MAX_RETRIES", "0")
        .env("HOME", authority.folder.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

fn soon<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}
