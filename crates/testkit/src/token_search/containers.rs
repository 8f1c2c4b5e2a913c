//! Containers of a pod that have a log: the running or ended ones, and the one before a restart.

use serde_json::Value;

/// Fields of a pod's status with containers.
const FIELDS: [&str; 3] = [
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
];

/// Program that writes a log, by the label `app.kubernetes.io/name` of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// A replica of the operator.
    Operator,
    /// A proxy.
    Proxy,
    /// Any other: vaults, clients, the cluster's own.
    Other,
}

/// Log of one container. A container that is restarted is another one with the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Identity of the container, unique in the cluster.
    pub id: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Name of the container in its pod.
    pub container: String,
    /// Program that writes it.
    pub program: Program,
    /// Whether the container was restarted: kubectl's `--previous`.
    pub is_previous: bool,
}

/// Logs that a pod has now.
pub(super) fn logs_of(pod: &Value) -> Vec<Log> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &pod["metadata"];
    let program = match metadata["labels"]["app.kubernetes.io/name"].as_str() {
        Some("vaultwall") => Program::Operator,
        Some("vaultwall-firewall") => Program::Proxy,
        _ => Program::Other,
    };
    let containers = FIELDS
        .iter()
        .filter_map(|field| pod["status"][field].as_array())
        .flatten();
    let mut logs = Vec::new();
    for container in containers {
        let state = &container["state"];
        let is_started = ["running", "terminated"]
            .iter()
            .any(|name| state[name].is_object());
        let current = is_started.then_some(&container["containerID"]);
        let previous = &container["lastState"]["terminated"]["containerID"];
        for (id, is_previous) in current
            .map(|id| (id, false))
            .into_iter()
            .chain([(previous, true)])
        {
            if let Some(id) = id.as_str().filter(|id| !id.is_empty()) {
                logs.push(Log {
                    id: id.to_owned(),
                    namespace: text(&metadata["namespace"]),
                    pod: text(&metadata["name"]),
                    container: text(&container["name"]),
                    program,
                    is_previous,
                });
            }
        }
    }
    logs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(labels: &Value, status: &Value) -> Vec<(String, Program, bool)> {
        let pod = json!({
            "metadata": {"name": "pod", "namespace": "vault", "labels": labels},
            "status": status,
        });
        logs_of(&pod)
            .into_iter()
            .map(|log| {
                assert_eq!((log.namespace.as_str(), log.pod.as_str()), ("vault", "pod"));
                (
                    format!("{} {}", log.container, log.id),
                    log.program,
                    log.is_previous,
                )
            })
            .collect()
    }

    #[test]
    fn containers_that_have_started_and_those_before_a_restart_have_logs() {
        let running = json!({"running": {}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let ended = |id: &str| json!({"terminated": {"containerID": id}});
        let status = json!({
            "initContainerStatuses": [{"name": "init", "containerID": "c://1", "state": ended("c://1")}],
            "containerStatuses": [
                {"name": "envoy", "containerID": "c://3", "state": running, "lastState": ended("c://2")},
                {"name": "crashes", "containerID": "c://4", "state": waiting, "lastState": ended("c://4")},
                {"name": "pulls", "containerID": "", "state": waiting},
            ],
        });
        let log = |name: &str, is_previous| (name.to_owned(), Program::Proxy, is_previous);
        assert_eq!(
            seen(
                &json!({"app.kubernetes.io/name": "vaultwall-firewall"}),
                &status
            ),
            [
                log("init c://1", false),
                log("envoy c://3", false),
                log("envoy c://2", true),
                log("crashes c://4", true),
            ]
        );
        assert_eq!(seen(&Value::Null, &json!({"phase": "Pending"})), []);
    }

    #[test]
    fn programs_are_distinguished_by_label() {
        for (name, program) in [
            (json!("vaultwall"), Program::Operator),
            (json!("vaultwall-firewall"), Program::Proxy),
            (json!("openbao"), Program::Other),
            (Value::Null, Program::Other),
        ] {
            let container = json!({"name": "a", "containerID": "c://1", "state": {"running": {}}});
            let found = seen(
                &json!({"app.kubernetes.io/name": name}),
                &json!({"containerStatuses": [container]}),
            );
            assert_eq!(found, [("a c://1".to_owned(), program, false)]);
        }
    }
}
