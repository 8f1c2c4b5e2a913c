//! A real Envoy with what a pod would give it: a mounted Secret, a folder of configuration, and the bootstrap that Vaultwall
//! writes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use vaultwall::compile::ProxyPorts;
use vaultwall::compile::envoy::{
    self, ARGUMENTS, Bootstrap, Configuration, LEAVE, MetricsPort, Upstream, XdsServer, to_json,
};
use vaultwall::policy::{DefaultAction, Firewall, VaultId};
use vaultwall::transport::certificates::Issued;
use vaultwall::xds::{Resource, Snapshot};

use crate::loopback::own_address;
use crate::operator::PORT;
use crate::real_envoy;
use crate::tool::tool;

pub(crate) struct Proxy {
    process: Child,
    folder: TempDir,
    address: Ipv4Addr,
}

impl Proxy {
    /// One that asks the operator at `operator` as the vault's, with these files in its Secret.
    pub(crate) fn start(operator: Ipv4Addr, vault: &VaultId, secret: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let address = own_address();
        let xds = XdsServer::Tls {
            host: operator.to_string(),
            port: PORT,
            certificates: at("secret"),
            configuration: at("config"),
        };
        fs::create_dir(at("config")).unwrap();
        for (name, text) in xds.files() {
            fs::write(folder.path().join("config").join(name), text).unwrap();
        }
        let bootstrap = Bootstrap {
            node_id: vault.to_string(),
            xds,
            admin_socket: at("admin.sock"),
            metrics: Some(MetricsPort {
                listen: SocketAddrV4::new(address, 8400),
                data: SocketAddrV4::new(address, 8200),
                leaving: SocketAddrV4::new(address, 8600),
            }),
        };
        mount(&folder.path().join("secret"), secret);
        let file = folder.path().join("config/bootstrap.json");
        fs::write(&file, to_json(&bootstrap.message()).unwrap().to_string()).unwrap();
        let process = Command::new(tool("envoy"))
            .arg("-c")
            .arg(file)
            .args(["--concurrency", "1"])
            .args(ARGUMENTS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(at("envoy.log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            process,
            folder,
            address,
        }
    }

    /// Replaces the files in its Secret, as the kubelet does it.
    pub(crate) fn mount(&self, secret: &[(&str, &str)]) {
        mount(&self.folder.path().join("secret"), secret);
    }

    /// The snapshot of a firewall that denies everybody, and listens where this proxy does.
    pub(crate) fn snapshot(&self, vault: &VaultId) -> Snapshot {
        Snapshot::new(self.resources(vault))
    }

    /// The same, with listeners that Envoy refuses.
    pub(crate) fn refused_snapshot(&self, vault: &VaultId) -> Snapshot {
        let mut configuration = self.configuration(vault);
        for listener in &mut configuration.listeners {
            listener.filter_chains.clear();
        }
        Snapshot::new(resources(&configuration))
    }

    /// The snapshot of a firewall that lets everybody in, and of a vault with these pods.
    pub(crate) fn open_snapshot(&self, vault: &VaultId, pods: &BTreeSet<SocketAddrV4>) -> Snapshot {
        let firewall = Firewall {
            default_action: DefaultAction::Allow,
            ..Firewall::deny_all(vault.clone(), 8200)
        };
        let proxy = envoy::Proxy {
            upstream: None,
            ..self.listening()
        };
        let configuration = envoy::configuration(&firewall, &firewall.table(), &proxy);
        let mut resources = resources(&configuration);
        resources.push(Resource::new(&envoy::endpoints(pods)));
        Snapshot::new(resources)
    }

    fn resources(&self, vault: &VaultId) -> Vec<Resource> {
        resources(&self.configuration(vault))
    }

    fn configuration(&self, vault: &VaultId) -> Configuration {
        let firewall = Firewall::deny_all(vault.clone(), 8200);
        envoy::configuration(&firewall, &firewall.table(), &self.listening())
    }

    /// Listens where this one does, in front of nobody.
    fn listening(&self) -> envoy::Proxy {
        envoy::Proxy {
            data: SocketAddrV4::new(self.address, 8200),
            management: SocketAddrV4::new(self.address, 8300),
            upstream: Some(Upstream {
                host: self.address.to_string(),
                port: 1,
            }),
            access_log: "/dev/null".into(),
            tls: envoy::Tls::default(),
        }
    }

    /// The status code of a request to one of its ports; `None` when nobody answers.
    pub(crate) fn asks(&self, port: u16, method: &str, path: &str) -> Option<u16> {
        let answer = self.hears(port, method, path)?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    pub(crate) fn hears(&self, port: u16, method: &str, path: &str) -> Option<String> {
        let address = SocketAddrV4::new(self.address, port);
        let stream = TcpStream::connect(address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .ok()?;
        exchange(stream, method, path)
    }

    /// Whether a client of the data port is told to come back by another connection.
    pub(crate) fn sends_away(&self) -> bool {
        let mut stream = TcpStream::connect(SocketAddrV4::new(self.address, 8200)).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\n")
            .unwrap();
        let head = BufReader::new(stream).lines().map(Result::unwrap);
        let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
        assert!(head[0].contains("403"), "{head:?}");
        head.iter()
            .any(|line| line.eq_ignore_ascii_case("connection: close"))
    }

    /// Tells it that it will be stopped; the answer comes through the stream when that has been long enough.
    pub(crate) fn leave(&self) -> TcpStream {
        let mut stream = TcpStream::connect(SocketAddrV4::new(self.address, 8600)).unwrap();
        write!(stream, "GET {LEAVE} HTTP/1.1\r\nHost: proxy\r\n\r\n").unwrap();
        stream
    }

    /// What a probe is told.
    pub(crate) fn ready(&self) -> Option<u16> {
        self.asks(8400, "GET", "/ready")
    }

    /// One figure of its own; 0 as long as there is none.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let socket = self.folder.path().join("admin.sock");
        let figure = || {
            let stream = UnixStream::connect(socket).ok()?;
            let answer = exchange(stream, "GET", &format!("/stats?filter=^{name}$"))?;
            let value = answer.split(&format!("{name}: ")).nth(1)?;
            value.split_whitespace().next()?.parse().ok()
        };
        figure().unwrap_or_default()
    }
}

fn resources(configuration: &Configuration) -> Vec<Resource> {
    let Configuration {
        clusters,
        listeners,
        routes,
        extensions,
    } = configuration;
    let resources = clusters.iter().map(Resource::new);
    let resources = resources.chain(listeners.iter().map(Resource::new));
    let resources = resources.chain(routes.iter().map(Resource::new));
    resources
        .chain(extensions.iter().map(Resource::new))
        .collect()
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> Option<String> {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// What Envoy finds wrong with the bootstrap of a proxy in a cluster, which looks the operator up by name.
pub(crate) fn objection_to_a_name(vault: &VaultId, files: &[(&str, &str)]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let bootstrap = Bootstrap {
        node_id: vault.to_string(),
        xds: XdsServer::Tls {
            host: "vaultwall.vaultwall-system.svc".into(),
            port: PORT,
            certificates: at("secret"),
            configuration: at(""),
        },
        admin_socket: at("admin.sock"),
        metrics: Some(MetricsPort::in_cluster(ProxyPorts::of(8200))),
    };
    mount(&folder.path().join("secret"), files);
    for (name, text) in bootstrap.xds.files() {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let file = folder.path().join("bootstrap.json");
    fs::write(&file, to_json(&bootstrap.message()).unwrap().to_string()).unwrap();
    real_envoy::objection(&file)
}

/// What the Secret of a proxy holds.
pub(crate) fn secret<'a>(issued: &'a Issued, authorities: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("tls.crt", &issued.certificate_pem),
        ("tls.key", &issued.key_pem),
        ("ca.crt", authorities),
    ]
}

/// Files are links to `..data`, which is a link to a folder, and that link is replaced: so all files change at once.
fn mount(folder: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(folder).unwrap();
    let number = fs::read_dir(folder).unwrap().count();
    let versions: PathBuf = format!("..version-{number}").into();
    fs::create_dir(folder.join(&versions)).unwrap();
    for (name, text) in files {
        fs::write(folder.join(&versions).join(name), text).unwrap();
        let link = folder.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    symlink(&versions, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("envoy.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(8).collect();
            eprintln!(
                "--- the end of Envoy's log, last line first\n{}\n---",
                lines.join("\n")
            );
        }
    }
}
