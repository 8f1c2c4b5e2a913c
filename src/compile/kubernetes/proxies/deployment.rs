//! The Deployment of the proxies: Envoy with its bootstrap and its identity.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
    HTTPGetAction, KeyToPath, Lifecycle, LifecycleHandler, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Sysctl, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::files::{
    BOOTSTRAP_FILE, BOOTSTRAP_FOLDER, CLIENTS_FOLDER, IDENTITY_FOLDER, RUNTIME_FOLDER, VAULT_FOLDER,
};
use super::inputs::ProxyInputs;
use crate::api::{BOOTSTRAP_HASH_ANNOTATION, generated_labels, proxy_labels};
use crate::compile::envoy::{
    ARGUMENTS, AUTHORITY_FILE, CERTIFICATE_FILE, DRAIN_PATH, DRAIN_SECONDS, KEY_FILE, LIVE_PATH,
    READY_PATH,
};
use crate::compile::names::{firewall_name, hash};
use crate::compile::ports::ProxyPorts;
use crate::policy::{ProxyResources, ProxySettings, Quantity};

/// User and group of Envoy, by convention an unprivileged one (`nonroot` of distroless images).
const USER: i64 = 65532;
/// Grace period in seconds, after which the kubelet kills Envoy: the drain time, and as long again for a busy node.
const GRACE_PERIOD: i64 = 2 * DRAIN_SECONDS as i64;
/// Seconds without progress after which the Deployment reports `ProgressDeadlineExceeded`; status warns of that.
const PROGRESS_SECONDS: i32 = 120;
/// Fewest worker threads of Envoy: with one alone, a large answer would delay all clients.
const LEAST_WORKERS: u64 = 2;
/// Only root may listen on ports below this one, unless the pod sets a sysctl.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// File mode: readable by owner and group; the group is the pod's `fsGroup`.
const OWNER_AND_GROUP: i32 = 0o440;

/// Names of the pod's volumes.
const BOOTSTRAP: &str = "bootstrap";
const IDENTITY: &str = "identity";
const RUNTIME: &str = "runtime";
const CLIENTS: &str = "clients";
const VAULT: &str = "vault";

pub(super) fn deployment(metadata: ObjectMeta, inputs: &ProxyInputs<'_>) -> Deployment {
    let selector = LabelSelector {
        match_labels: Some(proxy_labels(&inputs.vault.service)),
        match_expressions: None,
    };
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(inputs.settings.replicas().into()),
            selector: selector.clone(),
            template: template(inputs, selector),
            // A new proxy is ready before an old one is stopped.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            progress_deadline_seconds: Some(PROGRESS_SECONDS),
            // The ConfigMap and the Secret of an old revision are not kept, so a rollback is of little use.
            revision_history_limit: Some(2),
            min_ready_seconds: None,
            paused: None,
        }),
        status: None,
    }
}

fn template(inputs: &ProxyInputs<'_>, selector: LabelSelector) -> PodTemplateSpec {
    let name = firewall_name(&inputs.vault.service);
    let annotations = [(BOOTSTRAP_HASH_ANNOTATION, bootstrap_hash(&inputs.files))];
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(generated_labels(&inputs.vault.service)),
            annotations: Some(
                annotations
                    .map(|(key, value)| (key.to_owned(), value))
                    .into(),
            ),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![envoy(inputs)],
            volumes: Some(volumes(&name, inputs)),
            service_account_name: Some(name.clone()),
            // The deprecated name of the same field, which the API server fills in.
            service_account: Some(name),
            automount_service_account_token: Some(false),
            // Envoy does not use the environment variables of the namespace's Services.
            enable_service_links: Some(false),
            security_context: Some(pod_security(inputs.ports)),
            topology_spread_constraints: Some(vec![spread(selector)]),
            termination_grace_period_seconds: Some(GRACE_PERIOD),
            dns_policy: Some("ClusterFirst".to_owned()),
            restart_policy: Some("Always".to_owned()),
            scheduler_name: Some("default-scheduler".to_owned()),
            ..PodSpec::default()
        }),
    }
}

/// Hash of the files; it changes exactly when a file's name or content does.
fn bootstrap_hash(files: &BTreeMap<String, String>) -> String {
    let length = |text: &str| text.len().to_string();
    let parts = files
        .iter()
        .map(|(name, text)| [&length(name), ":", name, &length(text), ":", text].concat());
    hash(parts.collect::<String>().as_bytes())
}

/// Spreads the proxies over different nodes where possible; each revision is counted by itself.
fn spread(selector: LabelSelector) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector),
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    }
}

fn envoy(inputs: &ProxyInputs<'_>) -> Container {
    let resources = inputs.settings.resources();
    Container {
        name: "envoy".to_owned(),
        image: Some(inputs.image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(arguments(&resources)),
        ports: Some(ports(inputs.ports)),
        resources: Some(requirements(resources)),
        startup_probe: Some(has_configuration(inputs.ports)),
        liveness_probe: Some(alive(inputs.ports)),
        readiness_probe: Some(ready(inputs.ports)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                http_get: Some(get(
                    DRAIN_PATH,
                    IntOrString::Int(inputs.ports.kubelet.into()),
                )),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts(inputs.settings)),
        termination_message_path: Some("/dev/termination-log".to_owned()),
        // Envoy logs why it ends, and writes no termination message.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn arguments(resources: &ProxyResources) -> Vec<String> {
    // By default Envoy starts one worker for each CPU of the node, each with memory of its own.
    let workers = [&resources.limits, &resources.requests]
        .into_iter()
        .find_map(|amounts| Quantity::read(amounts.get("cpu")?))
        .map_or(0, Quantity::rounded_up)
        .max(LEAST_WORKERS);
    let first = [
        "-c".to_owned(),
        format!("{BOOTSTRAP_FOLDER}/{BOOTSTRAP_FILE}"),
        "--concurrency".to_owned(),
        workers.to_string(),
    ];
    first
        .into_iter()
        .chain(ARGUMENTS.map(str::to_owned))
        .collect()
}

fn ports(ports: ProxyPorts) -> Vec<ContainerPort> {
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    vec![
        port("data", ports.data),
        port("management", ports.management),
        port("metrics", ports.metrics),
    ]
}

fn requirements(resources: ProxyResources) -> ResourceRequirements {
    let amounts = |amounts: BTreeMap<String, String>| {
        let amounts: BTreeMap<String, Amount> = amounts
            .into_iter()
            .map(|(name, amount)| (name, Amount(amount)))
            .collect();
        Some(amounts).filter(|amounts| !amounts.is_empty())
    };
    ResourceRequirements {
        claims: None,
        limits: amounts(resources.limits),
        requests: amounts(resources.requests),
    }
}

/// Envoy has its first configuration. Without the operator a new proxy waits and serves nothing; a restart would not
/// help. The probe still fails after 20 minutes: so late, the kubelet restarts the container without a back-off.
fn has_configuration(ports: ProxyPorts) -> Probe {
    probe(LIVE_PATH, ports, 1, 20 * 60)
}

/// Envoy does not hang. Listeners do not matter here: open connections continue.
fn alive(ports: ProxyPorts) -> Probe {
    probe(LIVE_PATH, ports, 10, 6)
}

/// Envoy accepts clients on the data port.
fn ready(ports: ProxyPorts) -> Probe {
    probe(READY_PATH, ports, 2, 2)
}

/// A probe at the port that no pod reaches, so that none can make a proxy look dead.
fn probe(path: &str, ports: ProxyPorts, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(get(path, IntOrString::Int(ports.kubelet.into()))),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        success_threshold: Some(1),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn get(path: &str, port: IntOrString) -> HTTPGetAction {
    HTTPGetAction {
        path: Some(path.to_owned()),
        port,
        scheme: Some("HTTP".to_owned()),
        ..HTTPGetAction::default()
    }
}

fn pod_security(ports: ProxyPorts) -> PodSecurityContext {
    // Only the data port can be low: the others are Vaultwall's own.
    let lowest = ports.data;
    // The container's port equals the Service's port, as in NetworkPolicies and Envoy's listeners. The sysctl holds for
    // the pod alone, and Pod Security `restricted` allows it; the capability NET_BIND_SERVICE has no effect for a
    // non-root process.
    let sysctls = (lowest < FIRST_UNPRIVILEGED_PORT).then(|| {
        vec![Sysctl {
            name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
            value: lowest.to_string(),
        }]
    });
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(runtime_default()),
        sysctls,
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add: None,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}

fn volumes(name: &str, inputs: &ProxyInputs<'_>) -> Vec<Volume> {
    let settings = inputs.settings;
    let mut volumes = vec![
        Volume {
            name: BOOTSTRAP.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.to_owned(),
                default_mode: Some(OWNER_AND_GROUP),
                // Only the files of this revision. TLS files that are added later would make an older proxy, which did
                // not mount their Secrets, accept a listener without a certificate. Files that are removed later are
                // optional.
                items: Some(inputs.files.keys().map(|file| item(file)).collect()),
                optional: Some(true),
            }),
            ..Volume::default()
        },
        secret(IDENTITY, name, &[]),
        Volume {
            name: RUNTIME.to_owned(),
            // It holds only a socket.
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                size_limit: Some(Amount("1Mi".to_owned())),
            }),
            ..Volume::default()
        },
    ];
    if let Some(name) = &settings.tls {
        volumes.push(secret(CLIENTS, name, &[CERTIFICATE_FILE, KEY_FILE]));
    }
    if let Some(tls) = &settings.upstream_tls {
        volumes.push(secret(VAULT, &tls.ca_secret, &[AUTHORITY_FILE]));
    }
    volumes
}

fn item(file: &str) -> KeyToPath {
    KeyToPath {
        key: file.to_owned(),
        path: file.to_owned(),
        mode: None,
    }
}

/// A volume with a Secret's files. Empty `files`: all of them. Otherwise these alone, so that a proxy does not get an
/// authority's key that is in the same Secret.
fn secret(volume: &str, name: &str, files: &[&str]) -> Volume {
    let items: Vec<KeyToPath> = files.iter().map(|file| item(file)).collect();
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.to_owned()),
            default_mode: Some(OWNER_AND_GROUP),
            items: Some(items).filter(|items| !items.is_empty()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mounts(settings: &ProxySettings) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount(BOOTSTRAP, BOOTSTRAP_FOLDER, true),
        mount(IDENTITY, IDENTITY_FOLDER, true),
        mount(RUNTIME, RUNTIME_FOLDER, false),
    ];
    if settings.tls.is_some() {
        mounts.push(mount(CLIENTS, CLIENTS_FOLDER, true));
    }
    if settings.upstream_tls.is_some() {
        mounts.push(mount(VAULT, VAULT_FOLDER, true));
    }
    mounts
}

/// Mounts a whole folder: a file that is mounted alone never changes in a running pod.
fn mount(name: &str, folder: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: folder.to_owned(),
        // The API server leaves `false` out.
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
