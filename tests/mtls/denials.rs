//! Denials that reach the operator: each reason with all its fields, nothing of a stranger, and numbers that show what
//! was lost while the operator was away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::data::accesslog::v3::{AccessLogCommon, TcpAccessLogEntry};
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    Identifier, LogEntries, TcpAccessLogEntries,
};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use jiff::Timestamp;
use prost::Message;
use tokio::net::TcpListener;
use vaultwall::access_log::Record;
use vaultwall::access_log::sink::Outcome::{Taken, Vault};
use vaultwall::access_log::sink::{Received, Sequence};
use vaultwall::compile::envoy::STREAM;
use vaultwall::policy::{
    Engine, EngineNamespace, EngineType, Firewall, Grants, Identity, ManagementAccess, Reason,
    ServiceGrant, ValidatedScenario, ValidatedTrustedService, Verdict,
};
use vaultwall::transport::ConnectionLimits;
use vaultwall::transport::certificates::{Authority, Issued};
use vaultwall::xds::SnapshotStore;

use crate::mtls::operator::{Denials, Operator, PORT};
use crate::mtls::proxy::{Proxy, secret};
use crate::mtls::{authority, connect, publish, vault};
use testkit::client::{Client, SECRET};
use testkit::own_address;
use testkit::wait::{becomes_true, in_time};

const OUTSIDER: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 1);
/// Pod of a trusted service.
const SERVICE: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 2);
/// Part of every text that must not reach the operator.
const HIDDEN: &str = "not-for-the-log";

/// Codes of gRPC.
const DENIED: &str = "7";
const INVALID: &str = "3";

/// An operator and a proxy that sends it its denials.
struct Scene {
    authority: Authority,
    address: Ipv4Addr,
    denials: Denials,
    operator: Option<Operator>,
    proxy: Proxy,
}

impl Scene {
    async fn start() -> Self {
        let (authority, own, address) = (authority(), vault("openbao"), own_address());
        let issued = authority.proxy(&own, Timestamp::now()).unwrap();
        let proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));
        let mut scene = Self {
            authority,
            address,
            denials: Denials::new(),
            operator: None,
            proxy,
        };
        scene.start_operator(Arc::new(SnapshotStore::new()));
        let snapshot = scene.proxy.streaming_snapshot(&firewall());
        let operator = scene.operator.as_ref().unwrap();
        publish(operator, &own, snapshot).await.unwrap();
        becomes_true("it is ready", || scene.proxy.ready() == Some(200)).await;
        scene
    }

    fn start_operator(&mut self, store: Arc<SnapshotStore>) {
        self.operator = Some(Operator::start_receiving(
            self.address,
            &self.authority,
            store,
            ConnectionLimits::default(),
            &self.denials,
        ));
    }

    async fn stop_operator(&mut self) -> Arc<SnapshotStore> {
        self.operator.take().unwrap().stop().await
    }

    /// Sends one request on a connection of its own, and returns the status of its response.
    fn ask(&self, source: Ipv4Addr, port: u16, method: &str, target: &str, headers: &str) -> u16 {
        let mut client = Client::new(source, self.proxy.at(port));
        headers.clone_into(&mut client.headers);
        client.send(method, target, "").unwrap().status
    }

    /// Sends so many requests that are denied, on one connection.
    fn denied(&self, requests: usize) {
        let mut client = Client::new(OUTSIDER, self.proxy.at(8200));
        for _ in 0..requests {
            assert_eq!(client.send("GET", SECRET, "").unwrap().status, 403);
        }
    }

    /// Waits until the proxy's own log has so many records.
    async fn logged(&self, records: usize) {
        becomes_true("its own log is complete", || {
            self.proxy.access_log().len() == records
        })
        .await;
    }

    /// The one sequence of the proxy's only worker, in the filter chain of outsiders.
    fn sequence(&self) -> Option<Sequence> {
        let sequences = self.denials.sink.sequences(&vault("openbao").to_string())?;
        assert!(sequences.known().len() < 2, "{sequences:?}");
        sequences.known().values().next().copied()
    }

    /// Waits until the record with this number arrived.
    async fn arrived(&self, number: u64) {
        becomes_true("the record arrives", || {
            self.sequence()
                .is_some_and(|sequence| sequence.last >= number)
        })
        .await;
    }
}

/// A firewall that denies for every reason.
fn firewall() -> Firewall {
    let service = ValidatedTrustedService {
        name: "sql".into(),
        scenarios: vec![ValidatedScenario {
            name: "keys".into(),
            operations: BTreeSet::from(["keys/get".to_owned()]),
        }],
        identities: Vec::new(),
    };
    let account: Arc<_> = Arc::new("sql/server".parse().unwrap());
    let mut grants = Grants {
        services: Some(vec![ServiceGrant {
            service: Arc::new(service),
            holders: [Identity::Pod(Arc::clone(&account))].into_iter().collect(),
        }]),
        ..Grants::default()
    };
    grants.pods.insert(SERVICE, account);
    Firewall {
        engines: vec![Engine {
            path: "secret".into(),
            engine_type: EngineType::KvV2,
            namespace: EngineNamespace::Root,
        }],
        management: ManagementAccess::Unrestricted,
        grants,
        ..Firewall::deny_all(vault("openbao"), 8200)
    }
}

fn agent(name: &str) -> String {
    format!("User-Agent: {name}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_denial_arrives_with_the_fields_of_the_complete_log() {
    let scene = Scene::start().await;
    let token = "X-Vault-Token: s.token\r\n";
    let mut expected = BTreeMap::new();
    for (reason, source, port, method, target, headers) in [
        ("ForbiddenByFirewall", OUTSIDER, 8200, "GET", SECRET, token),
        ("ForbiddenByScenario", SERVICE, 8200, "GET", SECRET, token),
        ("ForbiddenByMissingToken", SERVICE, 8200, "GET", SECRET, ""),
        (
            "ForbiddenByPlane",
            OUTSIDER,
            8200,
            "GET",
            "/v1/sys/mounts",
            "",
        ),
        (
            "ForbiddenCritical",
            OUTSIDER,
            8300,
            "PUT",
            "/v1/sys/init",
            "",
        ),
        (
            "BadRequest",
            OUTSIDER,
            8200,
            "GET",
            "/v1/secret/data/a%2fb",
            "",
        ),
    ] {
        let target = format!("{target}?code={HIDDEN}");
        let headers = format!("{}{headers}", agent(reason));
        let status = scene.ask(source, port, method, &target, &headers);
        assert_eq!(
            status,
            if reason == "BadRequest" { 400 } else { 403 },
            "{reason}"
        );
        expected.insert(reason, true);
    }
    let denials = Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == Verdict::Deny);
    let denials: BTreeSet<_> = denials.map(|reason| reason.name()).collect();
    assert_eq!(denials, expected.keys().copied().collect());
    // Envoy refuses this one before anything is decided. An allowed one fails, and is no denial.
    let undecided = format!("http://user:{HIDDEN}@vault/v1/x");
    assert_eq!(
        scene.ask(OUTSIDER, 8200, "GET", &undecided, &agent("undecided")),
        400
    );
    expected.insert("undecided", false);
    let status = scene.ask(OUTSIDER, 8200, "GET", "/v1/sys/health", &agent("allowed"));
    assert_eq!(status, 503);

    let mut received = Vec::new();
    becomes_true("all arrive", || {
        received.extend(scene.denials.take());
        received.len() >= expected.len()
    })
    .await;
    let own = vault("openbao").to_string();
    assert!(received.iter().all(|one| *one.vault == *own));
    assert!(!format!("{received:?}").contains(HIDDEN));
    assert!(!format!("{received:?}").contains("s.token"));
    let agent_of = |record: &Record| record.user_agent.clone().unwrap();
    let mut received: BTreeMap<String, Received> = received
        .into_iter()
        .map(|one| (agent_of(&one.record), one))
        .collect();
    scene.logged(expected.len() + 1).await;
    let complete = scene.proxy.access_log().into_iter();
    let complete = complete.map(|record| serde_json::from_value::<Record>(record).unwrap());
    for record in complete.filter(|record| agent_of(record) != "allowed") {
        let agent = agent_of(&record);
        let streamed = received.remove(&agent).unwrap();
        assert_eq!(streamed.number.is_some(), expected[&*agent], "{agent}");
        assert_eq!(streamed.record, record);
    }
    assert!(received.is_empty(), "{received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_show_what_was_lost_while_the_operator_was_away() {
    let mut scene = Scene::start().await;
    scene.denied(50);
    scene.arrived(50).await;
    assert_eq!(scene.sequence().unwrap().missing(), 0);

    // Without an operator, the proxy answers as before, and its own log is complete.
    let store = scene.stop_operator().await;
    scene.denied(400);
    scene.logged(450).await;
    // Something takes connections and never answers: the same.
    let silent = TcpListener::bind((scene.address, PORT)).await.unwrap();
    let (_taken, ()) = tokio::join!(silent.accept(), async { scene.denied(400) });
    scene.logged(850).await;
    drop(silent);

    scene.start_operator(store);
    let mut sent = 850;
    while scene.sequence().unwrap().last <= 850 {
        scene.denied(1);
        sent += 1;
    }
    scene.arrived(sent).await;
    let sequence = scene.sequence().unwrap();
    assert_eq!((sequence.first, sequence.last), (1, sent));
    assert!(sequence.missing() > 0, "{sequence:?}");
    let numbers = scene.denials.take().into_iter();
    let numbers: BTreeSet<_> = numbers.map(|one| one.number.unwrap()).collect();
    assert_eq!(numbers.len() as u64, sequence.arrived);
    assert_eq!(sequence.arrived + sequence.missing(), sent);

    // An operator that has just started knows the number of its first record.
    let store = scene.stop_operator().await;
    scene.denials = Denials::new();
    scene.start_operator(store);
    while scene.sequence().is_none() {
        scene.denied(1);
    }
    let sequence = scene.sequence().unwrap();
    assert!(sequence.first > sent);
    assert_eq!(sequence.missing(), 0);
}

/// The fields that every record has.
fn tags(vault: &str) -> HashMap<String, String> {
    let tags = [
        ("time", "2026-11-22T18:30:16.391Z"),
        ("vault", vault),
        ("listener", "data"),
    ];
    tags.map(|(tag, text)| (tag.to_owned(), text.to_owned()))
        .into()
}

/// The first message of a stream, as gRPC frames it, with a record of each of these vaults.
fn message(node: &str, log: &str, vaults: &[&str]) -> Vec<u8> {
    let entries = vaults.iter().map(|vault| TcpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            custom_tags: tags(vault),
            ..AccessLogCommon::default()
        }),
        ..TcpAccessLogEntry::default()
    });
    let message = StreamAccessLogsMessage {
        identifier: Some(Identifier {
            node: Some(Node {
                id: node.to_owned(),
                ..Node::default()
            }),
            log_name: log.to_owned(),
        }),
        log_entries: Some(LogEntries::TcpLogs(TcpAccessLogEntries {
            log_entry: entries.collect(),
        })),
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// Sends bytes in a stream of a client with this certificate, and returns the status with which it ends. If it is to be
/// cut, the connection ends as soon as the operator has counted a further record.
async fn send(scene: &Scene, issued: &Issued, bytes: Vec<u8>, is_cut: bool) -> Option<String> {
    let own = (issued.certificate_pem.as_str(), issued.key_pem.as_str());
    let before = scene.denials.outcomes().len();
    let stream = connect(scene.address, &scene.authority, Some(own)).await;
    let (client, connection) = h2::client::handshake(stream.unwrap()).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(
        "https://vaultwall/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
    );
    let request = request.header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(()).unwrap();
    let mut client = client.ready().await.unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::from(bytes), !is_cut).unwrap();
    if is_cut {
        becomes_true("the record before the cut arrives", || {
            scene.denials.outcomes().len() > before
        })
        .await;
        connection.abort();
        return None;
    }
    let response = in_time("a response", response).await.ok()?;
    let status =
        |headers: &HeaderMap| Some(headers.get("grpc-status")?.to_str().unwrap().to_owned());
    if let Some(status) = status(response.headers()) {
        return Some(status);
    }
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        data.ok()?;
    }
    status(&body.trailers().await.ok()??)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_proxy_of_the_vault_gets_records_in_and_a_cut_stream_loses_its_last() {
    let scene = Scene::start().await;
    let own = vault("openbao").to_string();
    let now = Timestamp::now();
    let proxy = scene.authority.proxy(&vault("openbao"), now).unwrap();
    let other = scene.authority.proxy(&vault("other"), now).unwrap();
    let replica = scene.authority.replica(&[], now).unwrap();
    let records = || message(&own, STREAM, &[&own]);
    for (what, issued, bytes, status) in [
        ("another vault's", &other, records(), DENIED),
        ("the operator's", &replica, records(), DENIED),
        ("no node", &proxy, message("", STREAM, &[&own]), INVALID),
        ("another log", &proxy, message(&own, "x", &[&own]), INVALID),
    ] {
        let answer = send(&scene, issued, bytes, false).await;
        // A connection that is refused may end before its status arrives.
        assert!(answer.is_none_or(|answer| answer == status), "{what}");
    }
    assert_eq!(scene.denials.outcomes(), []);
    let anonymous = connect(scene.address, &scene.authority, None).await;
    let refused = match anonymous {
        Err(_) => true,
        Ok(stream) => match h2::client::handshake(stream).await {
            Err(_) => true,
            Ok((_, connection)) => in_time("the end", connection).await.is_err(),
        },
    };
    assert!(refused, "without a certificate");

    // With a certificate of its own, another vault's name in a record.
    let bytes = message(&own, STREAM, &["team-a/other", &own, ""]);
    assert_eq!(
        send(&scene, &proxy, bytes, false).await.as_deref(),
        Some("0")
    );
    assert_eq!(scene.denials.outcomes(), [Vault, Taken, Vault]);

    let mut bytes = records();
    let cut = records();
    bytes.extend(&cut[..cut.len() - 3]);
    assert_eq!(send(&scene, &proxy, bytes, true).await, None);
    assert_eq!(
        send(&scene, &proxy, records(), false).await.as_deref(),
        Some("0")
    );
    assert_eq!(scene.denials.outcomes()[3..], [Taken, Taken]);
    assert_eq!(scene.denials.take().len(), 3);
}
