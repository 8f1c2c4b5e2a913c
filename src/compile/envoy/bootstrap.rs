//! What an Envoy is started with: where to ask for its configuration, or, written out whole, the configuration itself.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::bootstrap::v3::bootstrap::{DynamicResources, StaticResources};
use envoy_types::pb::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use envoy_types::pb::envoy::config::bootstrap::v3::{
    Admin, Bootstrap as Message, LayeredRuntime, RuntimeLayer,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::core::v3::{
    Address, ApiConfigSource, ApiVersion, BackoffStrategy, GrpcService, Http2ProtocolOptions,
    KeepaliveSettings, Node, Pipe, RetryPolicy, address, api_config_source::ApiType,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::google::protobuf::{Duration, Struct, Value, value};

use super::listener::{Delivery, listener};
use super::wire::any;
use super::{Proxy, cluster, routes};
use crate::policy::{Firewall, Listener};
use crate::vault_api::Table;

const XDS_CLUSTER: &str = "vaultwall-xds";

/// The bootstrap of an Envoy that asks Vaultwall over a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Name of the firewall whose configuration it asks for.
    pub node_id: String,
    /// Path of the socket that Vaultwall serves on.
    pub xds_socket: String,
    /// Path of Envoy's own admin socket.
    pub admin_socket: String,
}

impl Bootstrap {
    /// The message, as Envoy reads it from a file that ends in `.pb`.
    pub fn message(&self) -> Message {
        let grpc = GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: XDS_CLUSTER.into(),
                retry_policy: Some(RetryPolicy {
                    retry_back_off: Some(BackoffStrategy {
                        base_interval: Some(Duration {
                            seconds: 0,
                            nanos: 50_000_000,
                        }),
                        max_interval: Some(Duration {
                            seconds: 1,
                            nanos: 0,
                        }),
                    }),
                    ..RetryPolicy::default()
                }),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        };
        let ads = ApiConfigSource {
            api_type: ApiType::DeltaGrpc.into(),
            transport_api_version: ApiVersion::V3.into(),
            grpc_services: vec![grpc],
            set_node_on_first_message_only: true,
            ..ApiConfigSource::default()
        };
        Message {
            node: Some(Node {
                id: self.node_id.clone(),
                cluster: "vaultwall".into(),
                ..Node::default()
            }),
            admin: Some(Admin {
                address: Some(pipe(&self.admin_socket)),
                ..Admin::default()
            }),
            layered_runtime: Some(runtime()),
            dynamic_resources: Some(DynamicResources {
                lds_config: Some(super::listener::aggregated()),
                cds_config: Some(super::listener::aggregated()),
                ads_config: Some(ads),
                ..DynamicResources::default()
            }),
            static_resources: Some(StaticResources {
                clusters: vec![xds_cluster(&self.xds_socket)],
                ..StaticResources::default()
            }),
            ..Message::default()
        }
    }
}

/// The whole configuration in one message, with nothing left to ask for: to look at, to validate, to run by hand.
pub fn static_bootstrap(firewall: &Firewall, table: &Table, proxy: &Proxy) -> Message {
    let listeners = [Listener::Data, Listener::Management].map(|side| {
        let routes = routes::route_configuration(table);
        listener(firewall, proxy, side, Delivery::Inline(Box::new(routes)))
    });
    Message {
        layered_runtime: Some(runtime()),
        static_resources: Some(StaticResources {
            listeners: listeners.into(),
            clusters: vec![cluster::cluster(&proxy.upstream)],
            ..StaticResources::default()
        }),
        ..Message::default()
    }
}

/// Envoy refuses regular expressions over a small size unless told otherwise; those of paths and of many namespaces
/// are larger.
fn runtime() -> LayeredRuntime {
    let limit = Value {
        kind: Some(value::Kind::NumberValue(100_000.0)),
    };
    let fields = HashMap::from([("re2.max_program_size.error_level".to_owned(), limit)]);
    LayeredRuntime {
        layers: vec![RuntimeLayer {
            name: "vaultwall".into(),
            layer_specifier: Some(LayerSpecifier::StaticLayer(Struct { fields })),
        }],
    }
}

fn xds_cluster(socket: &str) -> Cluster {
    let endpoint = Endpoint {
        address: Some(pipe(socket)),
        ..Endpoint::default()
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    let second = |seconds| Some(Duration { seconds, nanos: 0 });
    let http2 = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {
                    connection_keepalive: Some(KeepaliveSettings {
                        interval: second(30),
                        timeout: second(5),
                        ..KeepaliveSettings::default()
                    }),
                    ..Http2ProtocolOptions::default()
                })),
            },
        )),
        ..HttpProtocolOptions::default()
    };
    let options = any(&http2);
    Cluster {
        name: XDS_CLUSTER.into(),
        connect_timeout: second(1),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        typed_extension_protocol_options: HashMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            options,
        )]),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: XDS_CLUSTER.into(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![endpoint],
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        ..Cluster::default()
    }
}

fn pipe(path: &str) -> Address {
    Address {
        address: Some(address::Address::Pipe(Pipe {
            path: path.into(),
            mode: 0o600,
        })),
    }
}
