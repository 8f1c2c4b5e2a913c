#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::access_log::sink::{Observer as _, Outcome};
use crate::policy::VaultId;

/// A server on a free port.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn start(health: &Health, registry: Registry) -> Running {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(serve(listener, health.clone(), registry, async {
        let _ = stopped.await;
    }));
    Running {
        address,
        stop,
        served,
    }
}

/// Returns the status code and the whole answer.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn a_loop_that_hangs_or_ended_is_unhealthy() {
    let health = Health::new();
    let running = start(&health, Registry::default()).await;
    let (status, answer) = get(running.address, "/healthz").await;
    assert_eq!((status, body(&answer)), (200, "ok\n"));

    let mut pulse = health.pulse("main loop");
    let (works, work) = oneshot::channel::<()>();
    let main_loop = tokio::spawn(async move {
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = pulse.beat() => {}
                _ = &mut work => break,
            }
        }
        // Hangs, with its pulse in hand.
        std::future::pending::<()>().await;
        drop(pulse);
    });
    assert_eq!(get(running.address, "/healthz").await.0, 200);

    works.send(()).unwrap();
    let hangs = "main loop: no answer in 800 ms\n";
    // The first check may still wait in the queue; at the second one the queue is full.
    for _ in 0..2 {
        let (status, answer) = get(running.address, "/healthz").await;
        assert_eq!((status, body(&answer)), (503, hangs));
    }
    main_loop.abort();
    let _ = main_loop.await;
    let (_, answer) = get(running.address, "/healthz").await;
    assert_eq!(body(&answer), "main loop: its loop has ended\n");
}

#[tokio::test]
async fn a_task_that_ended_is_unhealthy() {
    let health = Health::new();
    let (sender, state) = watch::channel(crate::runtime::leader::State::Unknown);
    health.task("leader election", move || {
        crate::runtime::leader::is_alive(&state)
    });
    assert_eq!(health.unhealthy().await, Vec::<String>::new());
    drop(sender);
    assert_eq!(
        health.unhealthy().await,
        ["leader election: its task has ended"]
    );
}

#[tokio::test]
async fn a_replica_is_ready_if_every_condition_is_met() {
    let health = Health::new();
    let synced = health.condition("objects", "pods are not listed yet");
    let serving = health.condition("xDS", "not listening yet");
    let running = start(&health, Registry::default()).await;
    let (status, answer) = get(running.address, "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(
        body(&answer),
        "objects: pods are not listed yet\nxDS: not listening yet\n"
    );
    synced.met();
    assert_eq!(health.unready(), ["xDS: not listening yet"]);
    serving.met();
    assert_eq!(get(running.address, "/readyz").await.0, 200);
    synced.unmet("the watch on pods is cut");
    assert_eq!(health.unready(), ["objects: the watch on pods is cut"]);
    synced.met();
    drop(serving);
    assert_eq!(health.unready(), ["xDS: its task has ended"]);
}

#[tokio::test]
async fn the_server_stops_although_a_client_stays_connected() {
    let running = start(&Health::new(), Registry::default()).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    let mut half = TcpStream::connect(running.address).await.unwrap();
    half.write_all(b"GET /heal").await.unwrap();
    let started = Instant::now();
    running.stop.send(()).unwrap();
    running.served.await.unwrap();
    assert!(started.elapsed() < GRACE_PERIOD * 3);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_has_a_remedy() {
    let taken = listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let error = listen(taken.local_addr().unwrap()).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("choose another address with --operations-listen"),
        "{error}"
    );
}

#[tokio::test]
async fn metrics_have_the_open_metrics_format() {
    let (metrics, registry) = Metrics::new();
    metrics.set_policies(3, 1);
    metrics.firewalls.set(2);
    metrics.audit_firewalls.set(1);
    metrics.change_acknowledged(Instant::now());
    metrics.wrote("Deployment", WriteResult::Conflict);
    metrics.set_leader(true);
    metrics.set_authority_expiry(jiff::Timestamp::from_second(1_900_000_000).unwrap());
    let running = start(&Health::new(), registry).await;
    let (status, answer) = get(running.address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{answer}"
    );
    for line in [
        "vaultwall_policies{accepted=\"true\"} 3",
        "vaultwall_policies{accepted=\"false\"} 1",
        "vaultwall_firewalls 2",
        "vaultwall_audit_firewalls 1",
        "vaultwall_change_duration_seconds_count 1",
        "vaultwall_api_writes_total{kind=\"Deployment\",result=\"conflict\"} 1",
        "vaultwall_leader 1",
        "vaultwall_certificate_expiry_timestamp_seconds{certificate=\"authority\"} 1900000000.0",
        concat!(
            "vaultwall_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
    ] {
        assert!(answer.lines().any(|l| l == line), "{line}\n{answer}");
    }
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

fn vault(service: &str) -> VaultId {
    VaultId {
        namespace: "vault".to_owned(),
        service: service.to_owned(),
    }
}

#[test]
fn the_earliest_expiry_of_all_vaults_is_shown() {
    let (metrics, registry) = Metrics::new();
    let shown = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let row = "vaultwall_certificate_expiry_timestamp_seconds{certificate=\"proxy\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(row));
        value.map(str::to_owned)
    };
    let set = |service: &str, second: i64| {
        let moment = jiff::Timestamp::from_second(second).unwrap();
        metrics.set_proxy_certificate_expiry(&vault(service), moment);
    };
    assert_eq!(shown(), None);
    set("first", 100);
    set("second", 200);
    assert_eq!(shown().as_deref(), Some("100.0"), "not the last one set");
    set("first", 300);
    assert_eq!(shown().as_deref(), Some("200.0"), "renewed");
    metrics.remove_proxy_certificate(&vault("second"));
    assert_eq!(shown().as_deref(), Some("300.0"));
    metrics.remove_proxy_certificate(&vault("first"));
    assert_eq!(shown(), None);
}

/// Returns type and labels of every metric, by name.
fn registered() -> BTreeMap<String, String> {
    let (metrics, registry) = Metrics::new();
    // A family without a value is not exposed.
    metrics.wrote("Deployment", WriteResult::Written);
    metrics.watch_restarted("Pod");
    metrics.connection_refused("client");
    metrics.record(Outcome::Taken);
    metrics.denied(Some("BadRequest"));
    metrics.keys_fetched("url", true);
    metrics.set_key_sets("url", 1, 0, Some(jiff::Timestamp::UNIX_EPOCH));
    metrics.set_proxy_certificate_expiry(&vault("openbao"), jiff::Timestamp::UNIX_EPOCH);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            // The names in queries have a suffix.
            let name = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            let row = text.lines().find(|row| {
                row.starts_with(&format!("{name}{{")) || row.starts_with(&format!("{name} "))
            });
            let labels = row.and_then(|row| row.split_once('{')).map(|(_, labels)| {
                let labels = labels.split('}').next().unwrap().split("\",");
                let names = labels.map(|label| label.split('=').next().unwrap());
                names.collect::<Vec<_>>().join(", ")
            });
            (
                name,
                format!("{kind} {}", labels.unwrap_or_default())
                    .trim()
                    .to_owned(),
            )
        })
        .collect()
}

#[test]
fn the_page_lists_every_metric() {
    let page = include_str!("../../../docs/operations.md");
    let cell = |cell: &str| cell.replace('`', "").trim().to_owned();
    let listed: BTreeMap<String, String> = page
        .lines()
        .skip_while(|line| *line != "| metric | type | labels | meaning |")
        .take_while(|line| line.starts_with('|'))
        .filter(|line| line.starts_with("| `vaultwall_"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            let kind = format!("{} {}", cell(cells[1]), cell(cells[2]));
            (cell(cells[0]), kind.trim().to_owned())
        })
        .collect();
    assert_eq!(listed, registered());
}

#[test]
fn page_alerts_and_dashboard_name_no_unknown_metric() {
    let files = [
        include_str!("../../../docs/operations.md"),
        include_str!("../../../charts/vaultwall/files/alerts.yaml"),
        include_str!("../../../charts/vaultwall/files/dashboard.json"),
    ];
    let names = regex::Regex::new(r"vaultwall_[a-z_]*[a-z]").unwrap();
    let registered = registered();
    let unknown: Vec<&str> = files
        .iter()
        .flat_map(|file| names.find_iter(file))
        .map(|found| found.as_str())
        .filter(|name| {
            let plain = name.strip_suffix("_bucket").unwrap_or(name);
            !registered.contains_key(plain)
        })
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_page_lists_every_alert() {
    let page = include_str!("../../../docs/operations.md");
    let listed: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("| `Vaultwall"))
        .map(|line| {
            let cells = line.trim_matches('|').split('|').take(3);
            let cells = cells.map(|cell| cell.trim().trim_matches('`'));
            cells.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let alerts = include_str!("../../../charts/vaultwall/files/alerts.yaml");
    let alerts: serde_json::Value = serde_saphyr::from_str(alerts).unwrap();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let installed: Vec<String> = rules
        .iter()
        .map(|rule| {
            let texts = [&rule["alert"], &rule["labels"]["severity"], &rule["for"]];
            let texts = texts.map(|text| text.as_str().unwrap_or_default());
            texts.join(" ")
        })
        .collect();
    assert_eq!(listed, installed);
}
