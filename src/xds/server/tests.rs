#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use envoy_types::pb::envoy::config::core::v3::{Node, TypedExtensionConfig};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client as client;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Code;
use tonic::transport::server::UdsConnectInfo;
use tonic::transport::{Endpoint, Server};

use super::*;
use crate::xds::resource::{Resource, ResourceType};
use crate::xds::snapshot::Snapshot;
use crate::xds::testing::{filter, snapshot};

/// Upper bound of every wait; only a failing test reaches it.
const TIMEOUT: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future)
        .await
        .expect("this should not take long")
}

struct Running {
    store: Arc<SnapshotStore>,
    /// URI for gRPC clients.
    address: String,
    /// Contains the socket.
    _folder: tempfile::TempDir,
    stop: watch::Sender<bool>,
}

fn running() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("xds.sock");
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let address = format!("unix:{}", socket.display());
    let store = Arc::new(SnapshotStore::new());
    let (stop, stopped) = watch::channel(false);
    let service = service::<UdsConnectInfo>(Arc::clone(&store), stopped);
    let served = Server::builder().add_service(service);
    tokio::spawn(served.serve_with_incoming(listener));
    Running {
        store,
        address,
        _folder: folder,
        stop,
    }
}

struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

fn request(node: Option<&str>, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node.map(|id| Node {
            id: id.to_owned(),
            ..Node::default()
        }),
        type_url: ResourceType::ExtensionConfig.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

impl Client {
    async fn connect(address: &str, first: DeltaDiscoveryRequest) -> Self {
        let channel = Endpoint::from_shared(address.to_owned())
            .unwrap()
            .connect()
            .await
            .unwrap();
        let (requests, queue) = mpsc::channel(8);
        requests.send(first).await.unwrap();
        let responses = client::AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .delta_aggregated_resources(ReceiverStream::new(queue))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
        }
    }

    async fn receive(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        soon(self.responses.message()).await
    }

    async fn receive_and_acknowledge(&mut self) -> String {
        let response = self.receive().await.unwrap().unwrap();
        let answer = DeltaDiscoveryRequest {
            response_nonce: response.nonce,
            ..request(None, &[])
        };
        self.requests.send(answer).await.unwrap();
        response
            .resources
            .iter()
            .flat_map(|resource| [resource.name.as_str(), "@", resource.version.as_str()])
            .collect()
    }
}

#[tokio::test]
async fn a_snapshot_reaches_a_proxy_and_its_acknowledgement_comes_back() {
    let running = running();
    let version = running.store.publish("vault", snapshot([filter("f", 1)]));
    let mut client = Client::connect(&running.address, request(Some("vault"), &["f"])).await;
    assert_eq!(client.receive_and_acknowledge().await, "f@1");
    soon(running.store.wait_programmed("vault", &version))
        .await
        .unwrap();

    let version = running.store.publish("vault", snapshot([filter("f", 2)]));
    assert_eq!(client.receive_and_acknowledge().await, "f@2");
    soon(running.store.wait_programmed("vault", &version))
        .await
        .unwrap();

    let seen = running.store.status("vault");
    assert_eq!(seen.connected, 1);
    drop(client);
    assert_eq!(
        soon(running.store.status_changed("vault", &seen))
            .await
            .connected,
        0
    );
}

#[tokio::test]
async fn an_unknown_node_receives_nothing_of_other_nodes() {
    let running = running();
    running.store.publish("other", snapshot([filter("f", 1)]));
    let mut client = Client::connect(&running.address, request(Some("vault"), &["f"])).await;
    soon(
        running
            .store
            .status_changed("vault", &super::super::store::Status::default()),
    )
    .await;
    running.store.publish("other", snapshot([filter("f", 2)]));
    running.store.publish("vault", snapshot([filter("f", 3)]));
    assert_eq!(
        client.receive_and_acknowledge().await,
        "f@3",
        "its first response is of its own node"
    );
}

#[tokio::test]
async fn the_node_must_be_named_and_must_not_change() {
    let running = running();
    for nameless in [None, Some("")] {
        let mut client = Client::connect(&running.address, request(nameless, &["f"])).await;
        let status = client.receive().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("node.id"), "{status}");
    }
    let mut client = Client::connect(&running.address, request(Some("vault"), &["f"])).await;
    client
        .requests
        .send(request(Some("other"), &["f"]))
        .await
        .unwrap();
    assert_eq!(
        client.receive().await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn the_state_of_the_world_protocol_is_refused_with_a_reason() {
    let running = running();
    let channel = Endpoint::from_shared(running.address.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let status = client::AggregatedDiscoveryServiceClient::new(channel)
        .stream_aggregated_resources(tokio_stream::iter([DiscoveryRequest::default()]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("DELTA_GRPC"), "{status}");
}

#[tokio::test]
async fn a_proxy_that_does_not_read_delays_no_other() {
    let running = running();
    let names: Vec<String> = (0..64).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Exceeds the flow-control windows and queues of a stream.
    let large = |content: u8| {
        let resources = names.iter().map(|name| {
            let body = vec![content; 100_000];
            let typed_config = envoy_types::pb::google::protobuf::Any {
                type_url: "large".to_owned(),
                value: body,
            };
            Resource::new(&TypedExtensionConfig {
                name: (*name).to_owned(),
                typed_config: Some(typed_config),
            })
        });
        Snapshot::new(resources.collect())
    };
    running.store.publish("vault", large(1));
    let slow = Client::connect(&running.address, request(Some("vault"), &names)).await;
    let mut reader = Client::connect(&running.address, request(Some("vault"), &names)).await;
    for content in 1..4 {
        running.store.publish("vault", large(content));
        for _ in &names {
            reader.receive_and_acknowledge().await;
        }
    }
    let version = running
        .store
        .snapshot("vault")
        .unwrap()
        .version()
        .to_owned();
    assert_eq!(running.store.status("vault").connected, 2);
    drop(slow);
    soon(running.store.wait_programmed("vault", &version))
        .await
        .unwrap();
}

#[tokio::test]
async fn stopping_ends_the_streams() {
    let running = running();
    let mut client = Client::connect(&running.address, request(Some("vault"), &["f"])).await;
    running.stop.send(true).unwrap();
    assert_eq!(
        client.receive().await.unwrap_err().code(),
        Code::Unavailable
    );
    let seen = running.store.status("vault");
    if seen.connected > 0 {
        soon(running.store.status_changed("vault", &seen)).await;
    }
    assert_eq!(running.store.status("vault").connected, 0);
}
