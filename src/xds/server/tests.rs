#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use envoy_types::pb::envoy::config::core::v3::{Node, TypedExtensionConfig};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Endpoint;

use super::*;
use crate::xds::resource::{Resource, ResourceType};
use crate::xds::snapshot::Snapshot;
use crate::xds::testing::{filter, snapshot};

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this should not take long")
}

struct Running {
    store: Arc<SnapshotStore>,
    /// As gRPC names it.
    address: String,
    /// Holds the socket.
    _folder: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

fn running() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("xds.sock");
    let listener = bind_unix(&socket).unwrap();
    let address = format!("unix:{}", socket.display());
    let store = Arc::new(SnapshotStore::new());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve_unix(listener, Arc::clone(&store), async {
        let _ = stopped.await;
    }));
    Running {
        store,
        address,
        _folder: folder,
        stop,
        served,
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
        let responses = AggregatedDiscoveryServiceClient::new(channel)
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

    async fn hears(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        soon(self.responses.message()).await
    }

    async fn hears_and_acknowledges(&mut self) -> String {
        let response = self.hears().await.unwrap().unwrap();
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
    assert_eq!(client.hears_and_acknowledges().await, "f@1");
    soon(running.store.wait_programmed("vault", &version))
        .await
        .unwrap();

    let version = running.store.publish("vault", snapshot([filter("f", 2)]));
    assert_eq!(client.hears_and_acknowledges().await, "f@2");
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
async fn an_unknown_node_is_told_nothing_of_others() {
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
        client.hears_and_acknowledges().await,
        "f@3",
        "the first thing it hears is its own"
    );
}

#[tokio::test]
async fn the_node_must_be_named_and_stay() {
    let running = running();
    for nameless in [None, Some("")] {
        let mut client = Client::connect(&running.address, request(nameless, &["f"])).await;
        let status = client.hears().await.unwrap_err();
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
        client.hears().await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn the_state_of_the_world_protocol_is_refused_in_words() {
    let running = running();
    let channel = Endpoint::from_shared(running.address.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let status = AggregatedDiscoveryServiceClient::new(channel)
        .stream_aggregated_resources(tokio_stream::iter([DiscoveryRequest::default()]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("DELTA_GRPC"), "{status}");
}

#[tokio::test]
async fn a_proxy_that_does_not_read_holds_up_nobody() {
    let running = running();
    let names: Vec<String> = (0..64).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // More than the windows and queues of a stream hold.
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
    let deaf = Client::connect(&running.address, request(Some("vault"), &names)).await;
    let mut reader = Client::connect(&running.address, request(Some("vault"), &names)).await;
    for content in 1..4 {
        running.store.publish("vault", large(content));
        for _ in &names {
            reader.hears_and_acknowledges().await;
        }
    }
    let version = running
        .store
        .snapshot("vault")
        .unwrap()
        .version()
        .to_owned();
    assert_eq!(running.store.status("vault").connected, 2);
    drop(deaf);
    soon(running.store.wait_programmed("vault", &version))
        .await
        .unwrap();
}

#[tokio::test]
async fn stopping_ends_the_streams() {
    let running = running();
    let mut client = Client::connect(&running.address, request(Some("vault"), &["f"])).await;
    running.stop.send(()).unwrap();
    assert_eq!(client.hears().await.unwrap_err().code(), Code::Unavailable);
    soon(running.served).await.unwrap().unwrap();
    assert_eq!(running.store.status("vault").connected, 0);
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xds.sock");
    let listener = bind_unix(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(matches!(bind_unix(&path), Err(ServeError::InUse { .. })));
    drop(listener);
    assert!(path.exists(), "a dead process leaves its socket");
    drop(bind_unix(&path).unwrap());

    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(
        bind_unix(&file),
        Err(ServeError::NotASocket { .. })
    ));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let nowhere = bind_unix(&folder.path().join("no/folder/xds.sock"))
        .unwrap_err()
        .to_string();
    assert!(nowhere.contains("the folder must exist"), "{nowhere}");
}
