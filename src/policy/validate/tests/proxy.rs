//! Validation of the proxies' settings.

use super::*;
use crate::policy::{ExternalTrafficPolicy, ProxyService, ProxySettings, ServiceType};

fn settings(proxy: &Value) -> ProxySettings {
    *policy(&[("spec.proxy", proxy.clone())]).unwrap().proxy
}

#[test]
fn invalid_proxy_settings_are_refused() {
    let resources = |value: Value| json!({"resources": value});
    let service = |value: Value| json!({"service": value});
    let many: serde_json::Map<_, _> = (0..51).map(|index| (format!("a{index}"), json!(""))).collect();
    let table: &[(Value, &[&str])] = &[
        (json!({}), &[]),
        (json!({"replicas": 1}), &[]),
        (json!({"replicas": 100}), &[]),
        (json!({"replicas": 0}), &["replicas Invalid"]),
        (json!({"replicas": -1}), &["replicas Invalid"]),
        (json!({"replicas": 101}), &["replicas Invalid"]),
        (json!({"replicas": 258}), &["replicas Invalid"]),
        (resources(json!({})), &[]),
        (resources(json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "0.1", "memory": "1Gi"}})), &[]),
        (resources(json!({"limits": {"cpu": 2, "ephemeral-storage": "1G"}})), &[]),
        (resources(json!({"limits": {"cpu": "lots"}})), &["resources.limits.cpu Invalid"]),
        (resources(json!({"limits": {"cpu": "-1", "memory": "0"}})),
            &["resources.limits.cpu Invalid", "resources.limits.memory Invalid"]),
        (resources(json!({"requests": {"cpu": "100u"}})), &["resources.requests.cpu Invalid"]),
        // 512 thousandths of a byte, a frequent mistake for 512Mi
        (resources(json!({"limits": {"memory": "512m"}})), &["resources.limits.memory Invalid"]),
        (resources(json!({"requests": {"nvidia.com/gpu": "1"}})), &["resources.requests[nvidia.com/gpu] Invalid"]),
        (resources(json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}})),
            &["resources.requests.memory Invalid"]),
        (resources(json!({"claims": [{"name": "gpu"}]})), &["resources.claims Invalid"]),
        (service(json!({"type": "NodePort"})), &[]),
        (service(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})), &[]),
        (service(json!({"externalTrafficPolicy": "Local"})), &["service.externalTrafficPolicy Invalid"]),
        (service(json!({"type": "ClusterIP", "externalTrafficPolicy": "Cluster"})),
            &["service.externalTrafficPolicy Invalid"]),
        (service(json!({"annotations": {"service.beta.kubernetes.io/aws-load-balancer-internal": "true"}})), &[]),
        (service(json!({"annotations": {"Plain": ""}})), &[]),
        (service(json!({"annotations": {"a b": "", "/a": "", "a/": "", "a/b/c": ""}})),
            &["service.annotations[/a] Invalid", "service.annotations[a b] Invalid",
              "service.annotations[a/] Invalid", "service.annotations[a/b/c] Invalid"]),
        (service(json!({"annotations": {"vaultwall.dev/x": "", "x.Vaultwall.dev/y": "", "notvaultwall.dev/z": ""}})),
            &["service.annotations[vaultwall.dev/x] Invalid", "service.annotations[x.Vaultwall.dev/y] Invalid"]),
        (service(json!({"annotations": {"a": "b".repeat(4096), "c": "b".repeat(4097)}})),
            &["service.annotations.c Invalid"]),
        (json!({"tls": {"secretName": "openbao-tls"}, "upstreamTls": {"caSecretName": "openbao.ca"}}), &[]),
        (json!({"tls": {"secretName": "Openbao"}}), &["tls.secretName Invalid"]),
        (json!({"upstreamTls": {"caSecretName": "a", "serverName": "openbao.vault.svc"}}), &[]),
        (json!({"upstreamTls": {"caSecretName": "", "serverName": "*.vault.svc"}}),
            &["upstreamTls.caSecretName Invalid", "upstreamTls.serverName Invalid"]),
        (service(json!({"annotations": many})), &["service.annotations LimitExceeded"]),
    ];
    for (proxy, expected) in table {
        let expected: Vec<String> = expected.iter().map(|found| format!("spec.proxy.{found}")).collect();
        assert_eq!(found(policy(&[("spec.proxy", proxy.clone())])), expected, "{proxy}");
    }
}

#[test]
fn absent_proxy_settings_have_defaults() {
    let nothing = settings(&json!({}));
    assert!(nothing.is_empty());
    assert_eq!(nothing.replicas(), 2);
    assert_eq!(nothing.resources().limits["memory"], "512Mi");
    assert_eq!(nothing.service(), ProxyService::default());
    // Given resources replace all default resources, so the result does not depend on the default.
    let given = settings(&json!({"resources": {"requests": {"memory": "0.5Gi"}}})).resources();
    assert_eq!(given.requests, [("memory".to_owned(), "512Mi".to_owned())].into());
    assert!(given.limits.is_empty());
    let service = settings(&json!({"service": {"type": "LoadBalancer"}})).service();
    assert_eq!(service.service_type, ServiceType::LoadBalancer);
    assert_eq!(service.external_traffic_policy, Some(ExternalTrafficPolicy::Cluster));
}
