//! The `PodDisruptionBudget` of the proxies.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::inputs::ProxyInputs;
use crate::api::proxy_labels;

pub(super) fn budget(metadata: ObjectMeta, inputs: &ProxyInputs<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            // One at a time. A single proxy may be evicted too: it must not block the drain of its node for ever.
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(proxy_labels(&inputs.vault.service)),
                match_expressions: None,
            }),
            // A proxy that is not ready serves no client, so its eviction disturbs none.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
