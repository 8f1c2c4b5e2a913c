//! The Service in front of the proxies; clients set `VAULT_ADDR` to it.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::inputs::ProxyInputs;
use crate::api::proxy_labels;
use crate::policy::{ExternalTrafficPolicy, ServiceType};

pub(super) fn service(mut metadata: ObjectMeta, inputs: &ProxyInputs<'_>) -> Service {
    let settings = inputs.settings.service();
    metadata.annotations = Some(settings.annotations).filter(|annotations| !annotations.is_empty());
    let cluster_internal = settings.service_type == ServiceType::ClusterIP;
    let mut ports = vec![
        port("data", inputs.ports.data),
        port("management", inputs.ports.management),
    ];
    // Every port of a NodePort or LoadBalancer Service is open to the outside, where metrics are not meant to be read.
    // Scrapers use the pods' own port.
    if cluster_internal {
        ports.push(port("metrics", inputs.ports.metrics));
    }
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(settings.service_type.name().to_owned()),
            selector: Some(proxy_labels(&inputs.vault.service)),
            ports: Some(ports),
            // Rules hold IPv4 addresses only, on every cluster.
            ip_families: Some(vec!["IPv4".to_owned()]),
            ip_family_policy: Some("SingleStack".to_owned()),
            internal_traffic_policy: Some("Cluster".to_owned()),
            external_traffic_policy: settings
                .external_traffic_policy
                .map(ExternalTrafficPolicy::name)
                .map(str::to_owned),
            session_affinity: Some("None".to_owned()),
            allocate_load_balancer_node_ports: (settings.service_type == ServiceType::LoadBalancer)
                .then_some(true),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: port.into(),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
