//! Sockets of the Envoy process of standalone mode other than its listeners: none that any local user can connect to,
//! and no connection that goes on under a listener that was replaced.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use socket2::{Domain, Socket, Type};

use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;
use testkit::wait::{TIMEOUT, wait_until};

/// A proxy that is trusted at first, on an address that no other test uses.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 77, 20, 1);

/// A sandbox in which a vault answers, and a running Vaultwall with a policy that trusts [`PROXY`].
fn protected() -> (Sandbox, Serve) {
    let sandbox = Sandbox::new();
    let vault = TcpListener::bind(sandbox.upstream()).unwrap();
    thread::spawn(move || vault.incoming().flatten().for_each(answer_all));
    write_policy(&sandbox, "XForwardedFor");
    let serve = Serve::start(&sandbox);
    (sandbox, serve)
}

/// Writes a policy that trusts [`PROXY`] or, with `Direct`, no proxy.
fn write_policy(sandbox: &Sandbox, source: &str) {
    let trusted = match source {
        "Direct" => String::new(),
        _ => format!(", trustedProxies: [{PROXY}]"),
    };
    let policy = format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\n\
         metadata: {{name: p, namespace: vault}}\nspec:\n  \
         targetRef: {{name: openbao, port: 8200}}\n  ipRules: [{{value: 203.0.113.7}}]\n  \
         clientAddress: {{source: {source}{trusted}}}\n"
    );
    sandbox.put("policy.yaml", &policy);
}

/// Answers every request with 200, like a vault that allows everything.
pub(crate) fn answer_all(mut connection: TcpStream) {
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

/// Status of a request for the client that the rule allows; none if the connection is closed.
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
    let (sandbox, _serve) = protected();
    let id = fs::read_to_string(sandbox.state().join("envoy.pid")).unwrap();
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
    let (sandbox, _serve) = protected();
    let allowed = Some("200".to_owned());
    // On the connection itself: each of Envoy's workers begins with a new rule at a moment of its own.
    let mut open = connect_as_proxy(sandbox.data());
    wait_until("the client of the trusted proxy is let in", || {
        status(&mut open) == allowed
    });
    write_policy(&sandbox, "Direct");
    wait_until("a new connection is denied", || {
        status(&mut connect_as_proxy(sandbox.data())).as_deref() == Some("403")
    });
    // Nothing is sent, so that Envoy is what closes it, long before the ten minutes of its own default.
    let mut rest = [0; 1];
    assert_eq!(
        open.read(&mut rest).unwrap(),
        0,
        "the connection goes on as it was"
    );
}
