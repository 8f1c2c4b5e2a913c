//! Clients that send requests in the rhythm in which the vault closes idle connections: no request gets 503. A vault
//! closes them after 5 minutes by default, and `bao agent` renders every 5 minutes by default; here it is one second.

use std::fs;
use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use crate::standalone::objects::{ALLOWED, allowing};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::{IN_FORCE, Serve};
use testkit::OpenBao;
use testkit::client::SECRET;

/// `http_idle_timeout` of the vault.
const IDLE: Duration = Duration::from_secs(1);
const CLIENTS: u32 = 50;
/// Requests of each client; half of them write, and are never sent twice.
const REQUESTS: u32 = 30;

#[test]
fn no_request_meets_a_connection_that_the_vault_closes() {
    let sandbox = Sandbox::new();
    // The first listener of a development server has no settings, so this is another one.
    let upstream = SocketAddrV4::new(*sandbox.upstream().ip(), 8210);
    let listener = format!(
        "listener \"tcp\" {{\n  address = \"{upstream}\"\n  cluster_address = \"{}:8211\"\n  tls_disable = true\n  \
         http_idle_timeout = \"{}s\"\n}}\n",
        upstream.ip(),
        IDLE.as_secs()
    );
    let file = sandbox.at("openbao.hcl");
    fs::write(&file, listener).unwrap();
    let arguments = ["-config", file.to_str().unwrap()];
    let _vault = OpenBao::start_with(sandbox.upstream(), &sandbox.at(""), &arguments);
    sandbox.put("main.yaml", &allowing(&[]));
    let upstream = upstream.to_string();
    let other = [("--upstream", upstream.as_ref())];
    let serve = Serve::run(&mut Serve::command_with(&sandbox, &other));
    serve.wait_for_line(0, IN_FORCE);

    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = sandbox.client(ALLOWED);
            scope.spawn(move || {
                // From just before the vault's limit to just after it.
                let gap = IDLE.mul_f64(0.995 + 0.0002 * f64::from(number));
                for request in 0..REQUESTS {
                    let write = r#"{"data": {"a": "b"}}"#;
                    let (method, body) = [("GET", ""), ("POST", write)][request as usize % 2];
                    let answer = client.send(method, SECRET, body).unwrap();
                    assert_eq!(answer.status, 200, "{method}: {answer}");
                    thread::sleep(gap);
                }
            });
        }
    });
}
