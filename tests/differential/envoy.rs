//! A real Envoy with a compiled firewall, and its access log.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use prost::Message;
use serde_json::Value;
use tempfile::TempDir;
use vaultwall::compile::envoy::{Proxy, Tls, Upstream, static_bootstrap};
use vaultwall::policy::{Firewall, Listener};

use crate::differential::wire::{MARK, exchange};
use testkit::wait::TIMEOUT;
use testkit::{Process, own_address};

/// A running Envoy; it ends with this value.
pub struct Envoy {
    process: Process,
    folder: TempDir,
    data: SocketAddrV4,
    management: SocketAddrV4,
}

impl Envoy {
    /// Starts one in front of `upstream` and waits until it listens.
    pub fn start(firewall: &Firewall, upstream: SocketAddrV4) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = own_address();
        let data = SocketAddrV4::new(address, 8300);
        let management = SocketAddrV4::new(address, 8400);
        let proxy = Proxy {
            data,
            management,
            upstream: Some(Upstream {
                host: upstream.ip().to_string(),
                port: upstream.port(),
            }),
            access_log: folder
                .path()
                .join("access.log")
                .to_str()
                .unwrap()
                .to_owned(),
            tls: Tls::default(),
            streams_denials: false,
            http2: None,
        };
        let bootstrap = folder.path().join("bootstrap.pb");
        fs::write(
            &bootstrap,
            static_bootstrap(firewall, &firewall.table(), &proxy).encode_to_vec(),
        )
        .unwrap();
        let arguments = ["--use-dynamic-base-id", "--concurrency", "1", "-l", "error"];
        let arguments = [&arguments[..], &["--file-flush-interval-msec", "50"]].concat();
        let mut process = testkit::envoy::start(&bootstrap, &arguments, folder.path());
        for address in [data, management] {
            process.wait_until_ready(|| std::net::TcpStream::connect(address).map(drop));
        }
        Self {
            process,
            folder,
            data,
            management,
        }
    }

    /// The address of a listener.
    pub fn address(&self, listener: Listener) -> SocketAddrV4 {
        match listener {
            Listener::Data => self.data,
            Listener::Management => self.management,
        }
    }

    /// Its access log so far, by the mark of the request. There is one worker, which writes in order, so when the last
    /// request's record is there, all are.
    pub async fn log(&self) -> HashMap<String, Value> {
        let last = format!(
            "GET /v1/sys/health HTTP/1.1\r\nHost: last\r\n{MARK}: last\r\nconnection: close\r\n\r\n"
        );
        exchange(Ipv4Addr::LOCALHOST, self.data, last.as_bytes()).await;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let log = fs::read(self.folder.path().join("access.log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            if log.contains(r#""userAgent":"last""#) && log.ends_with('\n') {
                let records = log.lines().map(|line| {
                    let record: Value =
                        serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
                    (
                        record["userAgent"].as_str().unwrap_or_default().to_owned(),
                        record,
                    )
                });
                return records.collect();
            }
            assert!(
                Instant::now() < deadline,
                "the access log ends early: {}",
                self.process.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
