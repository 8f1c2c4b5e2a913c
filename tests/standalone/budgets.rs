//! Clients that no rule allows hold all that they can get; others are served all the same.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use hyper::Request;
use testkit::OpenBao;
use testkit::client::{Client, SECRET, TOKEN, Verdict, connect};
use testkit::wait::{TIMEOUT, in_time, wait_until};
use vaultwall::policy::VaultApi;
use vaultwall::vault_api::path::MAX_TARGET;
use vaultwall::vault_api::{Described, Profile, Table, classify};

use crate::standalone::objects::{ALLOWED, DENIED, allowing};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::{IN_FORCE, Serve};

/// More than Envoy's default limit of 1,024 connections and requests to one cluster.
const MANY: usize = 1_100;

fn protected(sandbox: &Sandbox, objects: &str) -> (OpenBao, Serve) {
    sandbox.put("main.yaml", objects);
    let vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    let serve = Serve::start(sandbox);
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]);
    (vault, serve)
}

/// Connects from an address and sends this.
fn begin(from: Ipv4Addr, to: SocketAddrV4, head: &str) -> TcpStream {
    let mut stream = connect(from, to, TIMEOUT).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Status code of the answer.
fn status(stream: &mut TcpStream) -> u16 {
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
}

/// A number of Envoy's statistics.
fn statistic(sandbox: &Sandbox, name: &str) -> u64 {
    testkit::envoy::statistic(&sandbox.state().join("admin.sock"), name).unwrap()
}

#[test]
fn slow_uploads_leave_the_vault_to_others() {
    let sandbox = Sandbox::alone();
    let (_vault, _serve) = protected(&sandbox, &allowing(&[]));
    for (path, endpoint) in [
        ("POST /v1/auth/approle/login", sandbox.management()),
        ("POST /v1/sys/mounts/x", sandbox.management()),
        ("POST /v1/sys/mounts/x", sandbox.data()),
    ] {
        let start = format!("{path} HTTP/1.1\r\nHost: v\r\nContent-Length: 100000\r\n\r\n");
        let held: Vec<TcpStream> = (0..MANY).map(|_| begin(DENIED, endpoint, &start)).collect();
        for _ in 0..20 {
            assert_eq!(sandbox.verdict(ALLOWED), Verdict::Allowed, "{path}");
            let mut manager = Client::new(DENIED, sandbox.management());
            let answer = manager.send("GET", "/v1/sys/mounts", "").unwrap();
            assert_eq!(answer.status, 200, "{path}: {answer}");
            let mut probe = Client::new(DENIED, sandbox.data());
            let answer = probe.send("GET", "/v1/sys/health", "").unwrap();
            assert_eq!(answer.status, 200, "{path}: {answer}");
        }
        drop(held);
    }
}

/// Each endpoint has places that only addresses in a rule take.
#[test]
fn others_cannot_take_the_places_of_those_that_a_rule_lists() {
    let sandbox = Sandbox::alone();
    let (_vault, _serve) = protected(&sandbox, &allowing(&[]));
    for (name, endpoint, places, path, cluster) in [
        ("data", sandbox.data(), 2_048, SECRET, "vault"),
        (
            "management",
            sandbox.management(),
            1_280,
            "/v1/sys/mounts",
            "vault-management",
        ),
    ] {
        let taken = format!("connection_limit.{name}.unlisted.active_connections");
        let refused = format!("connection_limit.{name}.unlisted.limited_connections");
        let begun = "GET /v1/sys/mounts HTTP/1.1\r\nX-Not-Finished: ";
        let held: Vec<TcpStream> = (0..places + 100)
            .map(|_| begin(DENIED, endpoint, begun))
            .collect();
        // A refused connection counts until it is closed.
        wait_until("all have connected", || {
            statistic(&sandbox, &refused) > 0 && statistic(&sandbox, &taken) <= places
        });
        let forwarded = format!("cluster.{cluster}.upstream_rq_total");
        let before = statistic(&sandbox, &forwarded);
        let mut listed = Client::new(ALLOWED, endpoint);
        let answer = listed.send("GET", path, "").unwrap();
        assert_eq!(answer.status, 200, "{name}: {answer}");
        assert_eq!(statistic(&sandbox, &forwarded), before + 1, "{cluster}");
        let listed = format!("connection_limit.{name}.listed.active_connections");
        assert_eq!(statistic(&sandbox, &listed), 1, "{name}");
        drop(held);
    }
}

#[test]
fn a_changed_address_disturbs_no_open_connection() {
    let sandbox = Sandbox::new();
    let (_vault, serve) = protected(&sandbox, &allowing(&[]));
    let changed = || statistic(&sandbox, "listener_manager.listener_in_place_updated");
    let before = changed();
    let token = format!("Host: v\r\nX-Vault-Token: {TOKEN}\r\n");
    let head = format!("POST {SECRET} HTTP/1.1\r\n{token}Content-Length: 24\r\n\r\n{{\"data\":");
    let mut upload = begin(ALLOWED, sandbox.data(), &head);
    let mut later = Client::new(DENIED, sandbox.data());
    assert_eq!(later.verdict(), Verdict::Denied);

    let lines = serve.lines();
    sandbox.put("main.yaml", &allowing(&["127.20.0.1/32"]));
    serve.wait_for_line(lines, IN_FORCE);
    assert_eq!(later.verdict(), Verdict::Allowed, "an earlier connection");
    upload.write_all(b"{\"value\":\"new\"}}").unwrap();
    assert_eq!(status(&mut upload), 200);
    wait_until("both listeners are updated in place", || {
        changed() == before + 2
    });
    for name in [
        "total_filter_chains_draining",
        "total_listeners_draining",
        "listener_removed",
    ] {
        let name = format!("listener_manager.{name}");
        assert_eq!(statistic(&sandbox, &name), 0, "{name}");
    }
}

/// Listeners follow the addresses after a pause, in which a policy may be written that cannot be enforced.
#[test]
fn listeners_that_wait_change_once_whatever_follows() {
    let sandbox = Sandbox::new();
    let (_vault, serve) = protected(&sandbox, &allowing(&[]));
    let changed = || statistic(&sandbox, "listener_manager.listener_in_place_updated");
    let before = changed();
    let lines = serve.lines();
    sandbox.put("main.yaml", &allowing(&["127.20.0.1/32"]));
    serve.wait_for_line(lines, IN_FORCE);
    let with_tls = "  proxy: {tls: {secretName: certificate}}\n  targetRef:";
    let refused = allowing(&[]).replace("  targetRef:", with_tls);
    sandbox.put("main.yaml", &refused);
    let kept = "spec.proxy.tls of the policies of vault/openbao names a Secret";
    serve.wait_for_line(lines, kept);
    wait_until("both listeners are updated", || changed() == before + 2);
    assert_eq!(sandbox.verdict(DENIED), Verdict::Allowed, "the last rules");
    assert_eq!(serve.log().matches(kept).count(), 1);
}

#[test]
fn a_refused_request_is_answered_before_its_body_arrives() {
    let sandbox = Sandbox::new();
    let (_vault, _serve) = protected(&sandbox, &allowing(&[]));
    for (line, length, endpoint, expected) in [
        (
            "GET /v1/sys/health",
            "Content-Length: 1",
            sandbox.data(),
            400,
        ),
        (
            "GET /v1/sys/health",
            "Transfer-Encoding: chunked",
            sandbox.data(),
            400,
        ),
        (
            "HEAD /v1/sys/leader",
            "Content-Length: 10",
            sandbox.management(),
            400,
        ),
        (
            "GET /v1/sys/health",
            "Content-Length: 0",
            sandbox.data(),
            200,
        ),
        (
            "POST /v1/secret/data/app",
            "Content-Length: 100000",
            sandbox.data(),
            403,
        ),
        (
            "POST /v1/secret/data/app",
            "Content-Length: 100000",
            sandbox.management(),
            403,
        ),
        (
            "PUT /v1/sys/unseal",
            "Content-Length: 100000",
            sandbox.management(),
            403,
        ),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: v\r\n{length}\r\n\r\n");
        let status = status(&mut begin(DENIED, endpoint, &head));
        assert_eq!(status, expected, "{line} {length}");
    }
}

/// `Connection` removes the header that announces a body, so only the body itself shows it.
#[test]
fn a_probe_whose_body_is_not_announced_does_not_reach_the_vault() {
    let sandbox = Sandbox::new();
    let (_vault, _serve) = protected(&sandbox, &allowing(&[]));
    for endpoint in [sandbox.data(), sandbox.management()] {
        let before = statistic(&sandbox, "cluster.vault-probes-unlisted.upstream_rq_total");
        let request = "GET /v1/sys/health HTTP/1.1\r\nHost: v\r\nConnection: transfer-encoding\r\n\
            Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        assert_eq!(status(&mut begin(DENIED, endpoint, request)), 413);
        let after = statistic(&sandbox, "cluster.vault-probes-unlisted.upstream_rq_total");
        assert_eq!(after, before, "{endpoint}");
    }
}

#[test]
fn a_path_that_is_too_long_is_refused_as_decide_does() {
    let sandbox = Sandbox::new();
    let (_vault, _serve) = protected(&sandbox, &allowing(&[]));
    for (from, length, query, expected) in [
        (DENIED, MAX_TARGET, "", 403),
        (DENIED, MAX_TARGET - 4, "?a=b", 403),
        (DENIED, MAX_TARGET + 1, "", 400),
        (DENIED, MAX_TARGET - 3, "?a=b", 400),
        (ALLOWED, 58_000, "", 400),
        // More than the limit of all headers.
        (DENIED, 58_000, "", 431),
    ] {
        let path = format!("{:a<length$}{query}", "/v1/secret/data/");
        let mut client = Client::new(from, sandbox.data());
        let answer = client.send("GET", &path, "").unwrap();
        assert_eq!(answer.status, expected, "{length} {query}");
        let request = vaultwall::vault_api::Request {
            method: "GET",
            target: &path,
            namespace: None,
            has_body: false,
            several_tokens: false,
            announced: None,
        };
        let table = Table::new(Profile::of(VaultApi::OpenBao), &Described::default());
        assert_eq!(classify(&table, &request).is_err(), expected != 403);
    }
}

#[test]
fn the_management_endpoint_takes_small_bodies_only_and_has_a_budget_of_its_own() {
    let sandbox = Sandbox::new();
    let (_vault, _serve) = protected(&sandbox, &allowing(&[]));
    let mut manager = Client::new(DENIED, sandbox.management());
    // The client cannot choose the budget.
    manager.headers += "X-Vaultwall-Budget: vault\r\n";
    let before = statistic(
        &sandbox,
        "cluster.vault-management-unlisted.upstream_rq_total",
    );
    let admitted = statistic(&sandbox, "cluster.vault.upstream_rq_total");
    let policy = format!("{{\"policy\": \"{}\"}}", "# ".repeat(50_000));
    let answer = manager
        .send("PUT", "/v1/sys/policies/acl/large", &policy)
        .unwrap();
    assert_eq!(answer.status, 204, "{answer}");
    let after = statistic(
        &sandbox,
        "cluster.vault-management-unlisted.upstream_rq_total",
    );
    assert_eq!(after, before + 1);
    assert_eq!(
        statistic(&sandbox, "cluster.vault.upstream_rq_total"),
        admitted
    );

    let head = "PUT /v1/sys/policies/acl/x HTTP/1.1\r\nHost: v\r\nContent-Length: 200000\r\n\r\n";
    let mut upload = begin(DENIED, sandbox.management(), head);
    // Envoy answers as soon as it has more than it takes, and may close the connection before all is sent.
    let _ = upload.write_all(&vec![b' '; 200_000]);
    assert_eq!(status(&mut upload), 413);
}

/// Sends a request by HTTP/2. Returns the status code and the largest number of concurrent requests, or the error.
async fn by_http2(from: Ipv4Addr, to: SocketAddrV4) -> Result<(u16, usize), h2::Error> {
    let stream = begin(from, to, "");
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let mut client = client.ready().await?;
    let request = Request::get(format!("http://vault{SECRET}"))
        .header("x-vault-token", TOKEN)
        .body(())
        .unwrap();
    let (answer, _) = client.send_request(request, true)?;
    let status = answer.await?.status().as_u16();
    Ok((status, client.current_max_send_streams()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_refused_unless_the_owner_asks_for_it() {
    let sandbox = Sandbox::new();
    let (_vault, serve) = protected(&sandbox, &allowing(&[]));
    for endpoint in [sandbox.data(), sandbox.management()] {
        assert!(by_http2(ALLOWED, endpoint).await.is_err(), "{endpoint}");
    }
    let lines = serve.lines();
    let asked = allowing(&[]).replace(
        "  targetRef:",
        "  proxy: {http2: {maxConcurrentStreams: 7}}\n  targetRef:",
    );
    sandbox.put("main.yaml", &asked);
    serve.wait_for_line(lines, IN_FORCE);
    // The listener is replaced, and each worker takes the new one over at a moment of its own.
    in_time("HTTP/2 is in force", async {
        while by_http2(ALLOWED, sandbox.data()).await.is_err() {}
    })
    .await;
    assert_eq!(by_http2(ALLOWED, sandbox.data()).await.unwrap(), (200, 7));
    assert_eq!(by_http2(DENIED, sandbox.data()).await.unwrap().0, 403);
}
