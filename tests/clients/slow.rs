//! A vault that answers after 330 seconds, more than the five minutes after which Envoy gives up by default. A
//! vault's owner allows that with `max_request_duration`; the vault of this test is a server of its own, because no
//! request makes a real one wait that long.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::standalone::objects::{ALLOWED, DENIED, allowing};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;
use testkit::client::connect;

const ANSWER_AFTER: Duration = Duration::from_secs(330);
const TIMEOUT: Duration = Duration::from_mins(10);

fn answer_late(mut connection: TcpStream) {
    thread::spawn(move || {
        let mut received = [0; 4096];
        while connection
            .read(&mut received)
            .is_ok_and(|length| length > 0)
        {
            thread::sleep(ANSWER_AFTER);
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlate\n");
        }
    });
}

/// Takes five and a half minutes: `cargo test --test with_tools -- --ignored slow`. `tests/timeouts.rs` has the quick
/// form.
#[test]
#[ignore = "takes 330 s; tests/timeouts.rs checks the configured timeouts"]
fn an_answer_after_330_seconds_arrives() {
    let sandbox = Sandbox::new();
    let vault = TcpListener::bind(sandbox.upstream()).unwrap();
    thread::spawn(move || vault.incoming().flatten().for_each(answer_late));
    sandbox.put("main.yaml", &allowing(&[]));
    let _serve = Serve::start(&sandbox);
    thread::scope(|scope| {
        for (from, to, request) in [
            (ALLOWED, sandbox.data(), "GET /v1/secret/data/app"),
            (ALLOWED, sandbox.data(), "POST /v1/secret/data/app"),
            (ALLOWED, sandbox.management(), "GET /v1/sys/mounts"),
            (DENIED, sandbox.management(), "POST /v1/sys/mounts/kv"),
            (
                DENIED,
                sandbox.management(),
                "POST /v1/auth/userpass/login/ann",
            ),
        ] {
            scope.spawn(move || {
                let mut connection = connect(from, to, TIMEOUT).unwrap();
                let bytes = format!("{request} HTTP/1.1\r\nHost: v\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                connection.write_all(bytes.as_bytes()).unwrap();
                let mut answer = String::new();
                connection.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{request}: {answer}");
                assert!(answer.ends_with("late\n"), "{request}: {answer}");
            });
        }
    });
}
