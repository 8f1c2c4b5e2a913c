//! A stream whose peer is no longer trusted receives nothing, however long it was open and idle.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client as client_of;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use vaultwall::transport::HTTP2;
use vaultwall::transport::certificates::{Authority, Issued};
use vaultwall::xds::{Resource, ResourceType, Snapshot};

use crate::mtls::operator::{Operator, PORT, credentials};
use crate::mtls::{authority, vault};
use testkit::own_address;
use testkit::wait::in_time;

/// A proxy that asks for one resource.
struct Asking {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Asking {
    async fn connect(operator: Ipv4Addr, authority: &Authority, own: &Issued, node: &str) -> Self {
        let tls = authority.credentials(own).unwrap().client(HTTP2).unwrap();
        // gRPC connects to this, and this connects to the operator with TLS.
        let tunnel = TcpListener::bind(SocketAddrV4::new(own_address(), 8501))
            .await
            .unwrap();
        let address = tunnel.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut plain, _) = tunnel.accept().await.unwrap();
            let stream = TcpStream::connect((operator, PORT)).await.unwrap();
            let name = ServerName::try_from("vaultwall").unwrap();
            let connector = TlsConnector::from(Arc::new(tls));
            let mut stream = connector.connect(name, stream).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut plain, &mut stream).await;
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = in_time("a connection", endpoint.connect()).await.unwrap();
        let (requests, queue) = mpsc::channel(1);
        let first = DeltaDiscoveryRequest {
            node: Some(Node {
                id: node.to_owned(),
                ..Node::default()
            }),
            type_url: ResourceType::Cluster.type_url().to_owned(),
            resource_names_subscribe: vec!["vault".to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(first).await.unwrap();
        let mut client = client_of::AggregatedDiscoveryServiceClient::new(channel);
        let responses = client.delta_aggregated_resources(ReceiverStream::new(queue));
        let responses = in_time("a stream", responses).await.unwrap().into_inner();
        Self {
            requests,
            responses,
        }
    }

    async fn response(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        let received = in_time("an answer", self.responses.message()).await;
        if let Ok(Some(response)) = &received {
            let acknowledgement = DeltaDiscoveryRequest {
                type_url: response.type_url.clone(),
                response_nonce: response.nonce.clone(),
                ..DeltaDiscoveryRequest::default()
            };
            self.requests.send(acknowledgement).await.unwrap();
        }
        received
    }
}

fn snapshot(content: u64) -> Snapshot {
    let cluster = envoy_types::pb::envoy::config::cluster::v3::Cluster {
        name: "vault".to_owned(),
        alt_stat_name: content.to_string(),
        ..Default::default()
    };
    Snapshot::new(vec![Resource::new(&cluster)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_certificate_expired_on_an_idle_stream_receives_nothing() {
    let (authority, own) = (authority(), vault("openbao"));
    let address = own_address();
    let operator = Operator::start(address, &authority);
    let node = own.to_string();
    operator.store.publish(&node, snapshot(0));
    // It ends in two seconds.
    let life = SignedDuration::try_from(vaultwall::transport::certificates::LEAF_LIFE).unwrap();
    let issued = Timestamp::now() - life + SignedDuration::from_secs(2);
    let issued = authority.proxy(&own, issued).unwrap();
    let mut proxy = Asking::connect(address, &authority, &issued, &node).await;
    let first = proxy.response().await.unwrap().unwrap();
    assert_eq!(first.resources.len(), 1);
    // The clock is what this waits for.
    testkit::wait::becomes_true("the certificate's end", || {
        Timestamp::now().as_second() > issued.not_after.as_second()
    })
    .await;
    operator.store.publish(&node, snapshot(1));
    let status = proxy.response().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("no longer valid"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_authority_counts_before_new_rules() {
    let (authority, own) = (authority(), vault("openbao"));
    for round in 0..20 {
        let address = own_address();
        let operator = Operator::start(address, &authority);
        let node = own.to_string();
        operator.store.publish(&node, snapshot(0));
        let issued = authority.proxy(&own, Timestamp::now()).unwrap();
        let mut proxy = Asking::connect(address, &authority, &issued, &node).await;
        proxy.response().await.unwrap().unwrap();
        operator
            .credentials
            .send_replace(credentials(&self::authority()));
        operator.store.publish(&node, snapshot(1));
        let status = proxy.response().await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{round}: {status}");
    }
}
