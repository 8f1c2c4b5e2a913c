//! The file that an Envoy is started with. It names the xDS server that has the configuration, or holds the whole
//! configuration.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::bootstrap::v3::bootstrap::{DynamicResources, StaticResources};
use envoy_types::pb::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use envoy_types::pb::envoy::config::bootstrap::v3::{
    Admin, Bootstrap as Message, LayeredRuntime, RuntimeLayer,
};
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, BackoffStrategy, ConfigSource, GrpcService, Node, RetryPolicy,
    api_config_source::ApiType,
};
use envoy_types::pb::google::protobuf::{Duration, Struct, Value, value};

use super::addresses::pipe;
use super::config_source::aggregated;
use super::listener::{Delivery, listener};
use super::metrics_port::MetricsPort;
use super::proxy::Proxy;
use super::xds_cluster::{self, XdsServer};
use super::{cluster, kubelet_port, overload, routes};
use crate::policy::{Firewall, Listener};
use crate::vault_api::Table;

/// The bootstrap of an Envoy that gets its configuration from Vaultwall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Name of the firewall, `NAMESPACE/SERVICE`.
    pub node_id: String,
    /// The xDS server that sends the configuration.
    pub xds: XdsServer,
    /// Path of the Unix socket of Envoy's admin endpoint.
    pub admin_socket: String,
    /// Ports for probes, metrics and the drain; `None` outside a cluster.
    pub metrics: Option<MetricsPort>,
    /// Memory limit of the process, in bytes; `None` if it has none.
    pub memory: Option<u64>,
}

impl Bootstrap {
    /// The message, as Envoy reads it from a file that ends in `.pb`.
    pub fn message(&self) -> Message {
        let grpc = GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: xds_cluster::NAME.into(),
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
        // No timeout: after one, Envoy would report that it is ready, without any listener.
        let source = || ConfigSource {
            initial_fetch_timeout: Some(Duration::default()),
            ..aggregated()
        };
        let mut clusters = vec![self.xds.cluster()];
        if let Some(metrics) = self.metrics {
            clusters.extend(metrics.clusters(&self.admin_socket));
        }
        Message {
            node: Some(node(self.node_id.clone())),
            admin: Some(Admin {
                address: Some(pipe(&self.admin_socket)),
                ..Admin::default()
            }),
            layered_runtime: Some(runtime()),
            overload_manager: Some(overload::overload_manager(self.memory)),
            dynamic_resources: Some(DynamicResources {
                lds_config: Some(source()),
                cds_config: Some(source()),
                ads_config: Some(ads),
                ..DynamicResources::default()
            }),
            static_resources: Some(StaticResources {
                listeners: self
                    .metrics
                    .map(|metrics| [metrics.listener(), kubelet_port::listener(metrics.kubelet)])
                    .into_iter()
                    .flatten()
                    .collect(),
                clusters,
                ..StaticResources::default()
            }),
            ..Message::default()
        }
    }
}

fn node(id: String) -> Node {
    Node {
        id,
        cluster: "vaultwall".into(),
        ..Node::default()
    }
}

/// The whole configuration in one message that needs no xDS server: to read, to validate, to run by hand. With TLS it
/// needs the files of [`Tls`](super::Tls).
pub fn static_bootstrap(firewall: &Firewall, table: &Table, proxy: &Proxy) -> Message {
    let listeners = [Listener::Data, Listener::Management].map(|side| {
        let routes = routes::route_configuration(table, &firewall.client_address);
        listener(firewall, proxy, side, &Delivery::Inline(Box::new(routes)))
    });
    Message {
        // Without a node Envoy discovers no secrets, not even in files.
        node: Some(node(firewall.vault.to_string())),
        layered_runtime: Some(runtime()),
        overload_manager: Some(overload::overload_manager(None)),
        static_resources: Some(StaticResources {
            listeners: listeners.into(),
            clusters: cluster::clusters(proxy),
            ..StaticResources::default()
        }),
        ..Message::default()
    }
}

/// Raises Envoy's size limit for regular expressions: those of paths and of many namespaces are larger than its default
/// allows.
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
