//! Validation of the proxies' settings. It refuses everything that the API server would refuse in the generated
//! objects, so that the policy's owner sees the error.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

use super::names::{is_subdomain, is_word, subdomain};
use crate::api::{
    GROUP, Proxy, ProxyHttp2, ProxyService as WireService, ServiceType,
    UpstreamTls as WireUpstreamTls,
};
use crate::limits::{
    MAX_ANNOTATION_LENGTH, MAX_HTTP2_STREAMS, MAX_PROXY_REPLICAS, MAX_SERVICE_ANNOTATIONS,
};
use crate::policy::proxy_settings::{
    Http2, ProxyResources, ProxyService, ProxySettings, UpstreamTls,
};
use crate::policy::quantity::Quantity;
use crate::policy::violation::{Findings, ViolationReason, field_of, quoted};

/// Names of the resources that a proxy can have.
const RESOURCES: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];

pub(super) fn check(proxy: Option<&Proxy>, findings: &mut Findings) -> ProxySettings {
    let Some(proxy) = proxy else {
        return ProxySettings::default();
    };
    let resources = proxy.resources.as_ref();
    ProxySettings {
        replicas: in_range(
            "spec.proxy.replicas",
            proxy.replicas,
            MAX_PROXY_REPLICAS,
            "delete the policy to remove the firewall",
            findings,
        ),
        resources: resources.map(|resources| check_resources(resources, findings)),
        service: proxy
            .service
            .as_ref()
            .map(|service| check_service(service, findings)),
        tls: proxy.tls.as_ref().map(|tls| {
            subdomain("spec.proxy.tls.secretName", &tls.secret_name, findings);
            tls.secret_name.clone()
        }),
        upstream_tls: proxy
            .upstream_tls
            .as_ref()
            .map(|tls| check_upstream_tls(tls, findings)),
        http2: proxy
            .http2
            .as_ref()
            .map(|http2| check_http2(http2, findings)),
    }
}

fn check_http2(wire: &ProxyHttp2, findings: &mut Findings) -> Http2 {
    let streams = in_range(
        "spec.proxy.http2.maxConcurrentStreams",
        wire.max_concurrent_streams,
        MAX_HTTP2_STREAMS,
        "remove `http2` for HTTP/1.1 only",
        findings,
    );
    streams.map_or_else(Http2::default, |max_concurrent_streams| Http2 {
        max_concurrent_streams,
    })
}

fn check_upstream_tls(wire: &WireUpstreamTls, findings: &mut Findings) -> UpstreamTls {
    const FIELD: &str = "spec.proxy.upstreamTls";
    subdomain(
        &format!("{FIELD}.caSecretName"),
        &wire.ca_secret_name,
        findings,
    );
    if let Some(name) = &wire.server_name {
        subdomain(&format!("{FIELD}.serverName"), name, findings);
    }
    UpstreamTls {
        ca_secret: wire.ca_secret_name.clone(),
        server_name: wire.server_name.clone(),
    }
}

/// Checks a number from 1 to `most`. `otherwise` is the remedy if none of these is wanted.
fn in_range(
    field: &str,
    given: Option<i32>,
    most: u8,
    otherwise: &str,
    findings: &mut Findings,
) -> Option<u8> {
    let given = given?;
    let number = u8::try_from(given)
        .ok()
        .filter(|number| (1..=most).contains(number));
    if number.is_none() {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!("{given} is out of range; write 1 to {most}, or {otherwise}"),
        );
    }
    number
}

fn check_resources(wire: &ResourceRequirements, findings: &mut Findings) -> ProxyResources {
    const FIELD: &str = "spec.proxy.resources";
    if wire
        .claims
        .as_ref()
        .is_some_and(|claims| !claims.is_empty())
    {
        findings.add(
            format!("{FIELD}.claims"),
            ViolationReason::Invalid,
            "a proxy cannot have resource claims; remove them",
        );
    }
    let requests_field = format!("{FIELD}.requests");
    let requests = amounts(&requests_field, wire.requests.as_ref(), findings);
    let limits = amounts(&format!("{FIELD}.limits"), wire.limits.as_ref(), findings);
    for (name, request) in &requests {
        if let Some(limit) = limits.get(name).filter(|limit| *limit < request) {
            findings.add(
                field_of(&requests_field, name),
                ViolationReason::Invalid,
                format!(
                    "{request} is more than the limit of {limit}; increase the limit, or decrease the request"
                ),
            );
        }
    }
    let written = |amounts: BTreeMap<String, Quantity>| {
        let amounts = amounts.into_iter();
        amounts
            .map(|(name, amount)| (name, amount.to_string()))
            .collect()
    };
    ProxyResources {
        requests: written(requests),
        limits: written(limits),
    }
}

fn amounts(
    field: &str,
    wire: Option<&BTreeMap<String, WireQuantity>>,
    findings: &mut Findings,
) -> BTreeMap<String, Quantity> {
    let mut amounts = BTreeMap::new();
    for (name, WireQuantity(text)) in wire.into_iter().flatten() {
        match amount(name, text) {
            Ok(amount) => {
                amounts.insert(name.clone(), amount);
            }
            Err(message) => {
                findings.add(field_of(field, name), ViolationReason::Invalid, message);
            }
        }
    }
    amounts
}

fn amount(name: &str, text: &str) -> Result<Quantity, String> {
    if !RESOURCES.contains(&name) {
        return Err(format!(
            "{} is not a resource of a proxy; write one of {}",
            quoted(name),
            RESOURCES.join(", ")
        ));
    }
    let amount = Quantity::read(text).ok_or_else(|| {
        format!(
            "{} is not a quantity; write a number with a suffix of Kubernetes, such as 100m or 512Mi",
            quoted(text)
        )
    })?;
    if amount.is_zero() {
        return Err("0 is too small; write a larger quantity, or remove the entry".to_owned());
    }
    if name == "cpu" && !amount.is_whole_thousandths() {
        return Err(format!(
            "{} is not a whole number of thousandths of a CPU; write it in steps of 1m",
            quoted(text)
        ));
    }
    if name != "cpu" && !amount.is_whole() {
        return Err(format!(
            "{} is not a whole number of bytes (m means thousandths); write M or Mi for megabytes",
            quoted(text)
        ));
    }
    Ok(amount)
}

fn check_service(wire: &WireService, findings: &mut Findings) -> ProxyService {
    const FIELD: &str = "spec.proxy.service";
    let service_type = wire.service_type.unwrap_or_default();
    if service_type == ServiceType::ClusterIP && wire.external_traffic_policy.is_some() {
        findings.add(
            format!("{FIELD}.externalTrafficPolicy"),
            ViolationReason::Invalid,
            "has no effect on a ClusterIP, which receives no traffic from outside; set type to NodePort or \
             LoadBalancer, or remove it",
        );
    }
    let annotations = format!("{FIELD}.annotations");
    if wire.annotations.len() > MAX_SERVICE_ANNOTATIONS {
        findings.add(
            &annotations,
            ViolationReason::LimitExceeded,
            format!(
                "has {} entries, and the limit is {MAX_SERVICE_ANNOTATIONS}; remove entries",
                wire.annotations.len()
            ),
        );
    }
    for (key, value) in &wire.annotations {
        annotation(&field_of(&annotations, key), key, value, findings);
    }
    ProxyService {
        service_type,
        external_traffic_policy: match service_type {
            ServiceType::ClusterIP => None,
            ServiceType::NodePort | ServiceType::LoadBalancer => {
                Some(wire.external_traffic_policy.unwrap_or_default())
            }
        },
        annotations: wire.annotations.clone(),
    }
}

fn annotation(field: &str, key: &str, value: &str, findings: &mut Findings) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    // The API server ignores case in the prefix.
    let well_formed =
        is_word(name) && prefix.is_none_or(|prefix| is_subdomain(&prefix.to_ascii_lowercase()));
    if !well_formed {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!(
                "{} is not the key of an annotation; write a name of at most 63 letters, digits, -, _ and ., after an \
                 optional DNS name and a slash",
                quoted(key)
            ),
        );
    }
    let is_reserved = prefix.is_some_and(|prefix| {
        let prefix = prefix.to_ascii_lowercase();
        prefix == GROUP || prefix.ends_with(&format!(".{GROUP}"))
    });
    if is_reserved {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!("annotations of {GROUP} are reserved for the operator; remove it"),
        );
    }
    if value.len() > MAX_ANNOTATION_LENGTH {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!(
                "the value has {} bytes, and the limit is {MAX_ANNOTATION_LENGTH}; shorten it",
                value.len()
            ),
        );
    }
}
