//! A real Envoy with what a pod would give it: a mounted Secret, a folder of configuration, and the bootstrap that
//! Vaultwall writes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use vaultwall::compile::ProxyPorts;
use vaultwall::compile::envoy::{
    self, ARGUMENTS, Bootstrap, Configuration, DRAIN_PATH, MetricsPort, Upstream, XdsServer,
    to_json,
};
use vaultwall::policy::{DefaultAction, Firewall, VaultId};
use vaultwall::transport::certificates::Issued;
use vaultwall::xds::{Resource, Snapshot};

use crate::mtls::operator::PORT;
use testkit::mounted_files::mount;
use testkit::{Process, own_address};

pub(crate) struct Proxy {
    process: Process,
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
                kubelet: SocketAddrV4::new(address, 8600),
            }),
            memory: None,
        };
        mount(&folder.path().join("secret"), secret);
        let file = folder.path().join("config/bootstrap.json");
        fs::write(&file, to_json(&bootstrap.message()).unwrap().to_string()).unwrap();
        let arguments = [&["--concurrency", "1"], &ARGUMENTS[..]].concat();
        let process = testkit::envoy::start(&file, &arguments, folder.path());
        Self {
            process,
            folder,
            address,
        }
    }

    /// Returns its log so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Replaces the files in its Secret, as the kubelet does it.
    pub(crate) fn mount(&self, secret: &[(&str, &str)]) {
        mount(&self.folder.path().join("secret"), secret);
    }

    /// Returns the snapshot of a firewall that denies every client, and listens where this proxy does.
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

    /// Returns the snapshot of a firewall that allows every client, and of a vault with these pods.
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
        resources.extend(envoy::endpoints(pods).iter().map(Resource::new));
        Snapshot::new(resources)
    }

    /// Returns the snapshot of a firewall whose denials go to the operator, too.
    pub(crate) fn streaming_snapshot(&self, firewall: &Firewall) -> Snapshot {
        let proxy = envoy::Proxy {
            access_log: self.access_log_file().display().to_string(),
            streams_denials: true,
            ..self.listening()
        };
        let configuration = envoy::configuration(firewall, &firewall.table(), &proxy);
        Snapshot::new(resources(&configuration))
    }

    fn access_log_file(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// Returns the complete records of its own access log so far.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.access_log_file()).unwrap_or_default();
        let lines = text.split_inclusive('\n');
        lines
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Returns the address of one of its ports.
    pub(crate) fn at(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, port)
    }

    fn resources(&self, vault: &VaultId) -> Vec<Resource> {
        resources(&self.configuration(vault))
    }

    fn configuration(&self, vault: &VaultId) -> Configuration {
        let firewall = Firewall::deny_all(vault.clone(), 8200);
        envoy::configuration(&firewall, &firewall.table(), &self.listening())
    }

    /// Returns the listeners of this proxy, with a vault that does not exist.
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
            streams_denials: false,
            http2: None,
        }
    }

    /// Returns the status code of a request to one of its ports; `None` without a response.
    pub(crate) fn status_of(&self, port: u16, method: &str, path: &str) -> Option<u16> {
        let answer = self.response(port, method, path)?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    pub(crate) fn response(&self, port: u16, method: &str, path: &str) -> Option<String> {
        let address = SocketAddrV4::new(self.address, port);
        let stream = TcpStream::connect(address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .ok()?;
        exchange(stream, method, path)
    }

    /// Whether the response to a client of the data port closes the connection.
    pub(crate) fn closes_connections(&self) -> bool {
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

    /// Sends the request to drain; the response arrives on the stream when the drain time has passed.
    pub(crate) fn drain(&self) -> TcpStream {
        let mut stream = TcpStream::connect(SocketAddrV4::new(self.address, 8600)).unwrap();
        write!(stream, "GET {DRAIN_PATH} HTTP/1.1\r\nHost: proxy\r\n\r\n").unwrap();
        stream
    }

    /// Returns the status code of the readiness probe.
    pub(crate) fn ready(&self) -> Option<u16> {
        self.status_of(8600, "GET", "/ready")
    }

    /// One figure of its own; 0 as long as there is none.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let socket = self.folder.path().join("admin.sock");
        testkit::envoy::statistic(&socket, name).unwrap_or_default()
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

/// Returns Envoy's error about the bootstrap of a proxy in a cluster, which looks up the operator by name.
pub(crate) fn validation_error_with_a_name(
    vault: &VaultId,
    files: &[(&str, &str)],
) -> Option<String> {
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
        memory: None,
    };
    mount(&folder.path().join("secret"), files);
    for (name, text) in bootstrap.xds.files() {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let file = folder.path().join("bootstrap.json");
    fs::write(&file, to_json(&bootstrap.message()).unwrap().to_string()).unwrap();
    testkit::envoy::validation_error(&file)
}

/// Returns the files in the Secret of a proxy.
pub(crate) fn secret<'a>(issued: &'a Issued, authorities: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("tls.crt", &issued.certificate_pem),
        ("tls.key", &issued.key_pem),
        ("ca.crt", authorities),
    ]
}
