//! The Deployment: Envoy, with what it is started with and who it is.

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

use super::{
    AUTHORITY_FILE, BOOTSTRAP_FILE, BOOTSTRAP_FOLDER, CERTIFICATE_FILE, CLIENTS_FOLDER,
    FleetInputs, IDENTITY_FOLDER, KEY_FILE, RUNTIME_FOLDER, VAULT_FOLDER,
};
use crate::api::{BOOTSTRAP_HASH_ANNOTATION, generated_labels, proxy_labels};
use crate::compile::envoy::{ARGUMENTS, LEAVE, LEAVING_SECONDS};
use crate::compile::names::hash;
use crate::compile::{ProxyPorts, firewall_name};
use crate::policy::{ProxyResources, ProxySettings, Quantity};

/// User and group of Envoy; nobody has an account of this number.
const USER: i64 = 65532;
/// When it is killed, in seconds: the time in which it leaves, and as long again for a node that has none.
const GRACE: i64 = 2 * LEAVING_SECONDS as i64;
/// After how many seconds in which none of its newest pods starts a Deployment says so; status warns of it then.
const PROGRESS_SECONDS: i32 = 120;
/// Fewest worker threads of Envoy: one that is busy with a large answer must not hold up everybody.
const LEAST_WORKERS: u64 = 2;
/// Ports below this one are open to root alone, unless the pod says otherwise.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// Read by owner and group; the group is the pod's.
const OWNER_AND_GROUP: i32 = 0o440;

/// Names of the pod's volumes.
const BOOTSTRAP: &str = "bootstrap";
const IDENTITY: &str = "identity";
const RUNTIME: &str = "runtime";
const CLIENTS: &str = "clients";
const VAULT: &str = "vault";

pub(crate) fn deployment(metadata: ObjectMeta, inputs: &FleetInputs<'_>) -> Deployment {
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
            // A new proxy serves before an old one goes.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            progress_deadline_seconds: Some(PROGRESS_SECONDS),
            // What they are made from is not kept with them, so there is little to go back to.
            revision_history_limit: Some(2),
            min_ready_seconds: None,
            paused: None,
        }),
        status: None,
    }
}

fn template(inputs: &FleetInputs<'_>, selector: LabelSelector) -> PodTemplateSpec {
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
            // The older name of the same field, which the API server fills in.
            service_account: Some(name),
            automount_service_account_token: Some(false),
            // Environment variables of every Service of the namespace are nothing to Envoy.
            enable_service_links: Some(false),
            security_context: Some(pod_security(inputs.ports)),
            topology_spread_constraints: Some(vec![spread(selector)]),
            termination_grace_period_seconds: Some(GRACE),
            dns_policy: Some("ClusterFirst".to_owned()),
            restart_policy: Some("Always".to_owned()),
            scheduler_name: Some("default-scheduler".to_owned()),
            ..PodSpec::default()
        }),
    }
}

/// Changes exactly when a file's name or content does.
fn bootstrap_hash(files: &BTreeMap<String, String>) -> String {
    let length = |text: &str| text.len().to_string();
    let parts = files
        .iter()
        .map(|(name, text)| [&length(name), ":", name, &length(text), ":", text].concat());
    hash(parts.collect::<String>().as_bytes())
}

/// On different nodes if there are, each new generation of proxies counted by itself.
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

fn envoy(inputs: &FleetInputs<'_>) -> Container {
    let resources = inputs.settings.resources();
    Container {
        name: "envoy".to_owned(),
        image: Some(inputs.image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(arguments(&resources)),
        ports: Some(ports(inputs.ports)),
        resources: Some(requirements(resources)),
        startup_probe: Some(told()),
        liveness_probe: Some(alive()),
        readiness_probe: Some(serving()),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                http_get: Some(page(LEAVE, IntOrString::Int(inputs.ports.leaving.into()))),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts(inputs.settings)),
        termination_message_path: Some("/dev/termination-log".to_owned()),
        // Envoy says in its log why it ends, and writes no file.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn arguments(resources: &ProxyResources) -> Vec<String> {
    // Envoy would take one worker for each CPU of the node, each with memory of its own.
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

/// It was told what to do. Without the operator a new proxy waits for it and refuses everything; starting it again would
/// not help. After so long it is done all the same, and so late that the kubelet does not make the next start wait.
fn told() -> Probe {
    get("/live", 1, 20 * 60)
}

/// Envoy's threads still turn. Whether anything is served does not matter here: open connections go on.
fn alive() -> Probe {
    get("/live", 10, 6)
}

/// It accepts clients.
fn serving() -> Probe {
    get("/ready", 2, 2)
}

fn get(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(page(path, IntOrString::String("metrics".to_owned()))),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        success_threshold: Some(1),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn page(path: &str, port: IntOrString) -> HTTPGetAction {
    HTTPGetAction {
        path: Some(path.to_owned()),
        port,
        scheme: Some("HTTP".to_owned()),
        ..HTTPGetAction::default()
    }
}

fn pod_security(ports: ProxyPorts) -> PodSecurityContext {
    // The others are chosen by us.
    let lowest = ports.data;
    // The ports inside and outside stay the same number, as NetworkPolicies and Envoy's listeners have it. This setting
    // is the pod's own, and `restricted` allows it; the capability NET_BIND_SERVICE would not reach a non-root process.
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

fn volumes(name: &str, inputs: &FleetInputs<'_>) -> Vec<Volume> {
    let settings = inputs.settings;
    let mut volumes = vec![
        Volume {
            name: BOOTSTRAP.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: name.to_owned(),
                default_mode: Some(OWNER_AND_GROUP),
                // No files that come later: with those of TLS, whose Secrets it did not mount, a proxy of before would take
                // a listener that nobody can speak to. Some may go, and no pod needs them then.
                items: Some(inputs.files.keys().map(|file| item(file)).collect()),
                optional: Some(true),
            }),
            ..Volume::default()
        },
        secret(IDENTITY, name, &[]),
        Volume {
            name: RUNTIME.to_owned(),
            // A socket takes no room.
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

/// A Secret's files; all of them, or these alone: an authority's key that is in the same Secret is nothing to a proxy.
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

/// Whole folders: what is mounted as a single file never changes in a running pod.
fn mount(name: &str, folder: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: folder.to_owned(),
        // `false` is left out by the API server.
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
