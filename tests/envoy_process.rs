//! Sockets of the Envoy process of standalone mode other than its listeners: none that any local user can connect to,
//! and no connection that goes on under a listener that was replaced.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

use testkit::wait::{TIMEOUT, wait_until};
use testkit::{own_address, tool};

/// A proxy that is trusted at first, on an address that no other test uses.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 77, 20, 1);

struct Serve {
    child: Child,
    data: SocketAddrV4,
    folder: tempfile::TempDir,
}

impl Serve {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let upstream = vault.local_addr().unwrap();
        thread::spawn(move || vault.incoming().flatten().for_each(answer_all));
        let address = own_address();
        let data = SocketAddrV4::new(address, 8300);
        let management = SocketAddrV4::new(address, 8400);
        fs::create_dir(folder.path().join("objects")).unwrap();
        write_policy(folder.path(), "XForwardedFor");
        let child = Command::new(env!("CARGO_BIN_EXE_vaultwall"))
            .arg("serve")
            .arg("-f")
            .arg(folder.path().join("objects"))
            .args(["--upstream", &upstream.to_string()])
            .args(["--data-listen", &data.to_string()])
            .args(["--management-listen", &management.to_string()])
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .arg("--envoy")
            .arg(tool("envoy"))
            .arg("--access-log")
            .arg("/dev/null")
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("messages")).unwrap())
            .spawn()
            .unwrap();
        let mut serve = Self {
            child,
            data,
            folder,
        };
        wait_until("the data endpoint answers", || {
            let ended = serve.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", serve.messages());
            TcpStream::connect(data).is_ok()
        });
        serve
    }

    fn messages(&self) -> String {
        fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("vaultwall said:\n{}", self.messages());
        }
        // With SIGTERM, it stops its Envoy as well.
        let id = i32::try_from(self.child.id()).unwrap();
        let _ = kill_process(Pid::from_raw(id).unwrap(), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Writes a policy that trusts [`PROXY`] or, with `Direct`, no proxy.
fn write_policy(folder: &Path, source: &str) {
    let trusted = match source {
        "Direct" => String::new(),
        _ => format!(", trustedProxies: [{PROXY}]"),
    };
    let policy = format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: p, namespace: \
            vault}}\nspec:\n  \
         targetRef: {{name: openbao, port: 8200}}\n  ipRules: [{{value: 203.0.113.7}}]\n  \
         clientAddress: {{source: {source}{trusted}}}\n"
    );
    let new = folder.join("new");
    fs::write(&new, policy).unwrap();
    fs::rename(new, folder.join("objects/policy.yaml")).unwrap();
}

/// Answers every request with 200, like a vault that allows everything.
fn answer_all(mut connection: TcpStream) {
    thread::spawn(move || {
        let mut received = [0; 4096];
        while connection
            .read(&mut received)
            .is_ok_and(|length| length > 0)
        {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
}

fn connect_as_proxy(server: SocketAddrV4) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((PROXY, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from(server).into()).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.into()
}

/// The status of a request for the client that the rule lets in; none when the connection is closed.
fn status(connection: &mut TcpStream) -> Option<String> {
    let request =
        b"GET /v1/secret/data/app HTTP/1.1\r\nHost: vault\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n";
    connection.write_all(request).ok()?;
    let mut received = [0; 4096];
    let length = connection
        .read(&mut received)
        .ok()
        .filter(|length| *length > 0)?;
    let text = String::from_utf8_lossy(&received[..length]).into_owned();
    text.split(' ').nth(1).map(str::to_owned)
}

#[test]
fn no_socket_is_open_to_every_local_user() {
    let serve = Serve::start();
    let id = fs::read_to_string(serve.folder.path().join("state/envoy.pid")).unwrap();
    let own: Vec<String> = fs::read_dir(format!("/proc/{}/fd", id.trim()))
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    // Num RefCount Protocol Flags Type St Inode Path; a path that begins with @ has no file, and so no permissions.
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let abstract_ones: Vec<&str> = table
        .lines()
        .filter(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_own = |inode: &str| own.contains(&format!("socket:[{inode}]"));
            words.len() == 8 && words[7].starts_with('@') && is_own(words[6])
        })
        .collect();
    assert!(
        own.iter().any(|target| target.starts_with("socket:")),
        "{own:?}"
    );
    assert!(abstract_ones.is_empty(), "{abstract_ones:?}");
}

#[test]
fn a_proxy_that_is_no_longer_trusted_loses_its_open_connections() {
    let serve = Serve::start();
    let allowed = Some("200".to_owned());
    // On the connection itself: each of Envoy's workers begins with a new rule at a moment of its own.
    let mut open = connect_as_proxy(serve.data);
    wait_until("the client of the trusted proxy is let in", || {
        status(&mut open) == allowed
    });
    write_policy(serve.folder.path(), "Direct");
    wait_until("a new connection is denied", || {
        status(&mut connect_as_proxy(serve.data)).as_deref() == Some("403")
    });
    // Nothing is sent, so that Envoy is what closes it, long before the ten minutes of its own default.
    let mut rest = [0; 1];
    assert_eq!(
        open.read(&mut rest).unwrap(),
        0,
        "the connection goes on as it was"
    );
}
