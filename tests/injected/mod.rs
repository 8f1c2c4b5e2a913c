//! The agent that vault-k8s 1.7.6 injects into pods, with `bao agent` of `OpenBao` 2.7.2: the vault asks a real API
//! server about the pod's token.
//!
//! `pods.json` has the containers as they were in the pods that an API server (1.36.3) stored, with that injector as
//! its webhook, for the annotations in `annotations`. The injector itself is in no registry that the tests can
//! install it from. A test runs the command of a container, with its configuration; only folders and the address are
//! the test's own.

pub(crate) mod logins;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::clients::scene::{ELSEWHERE, HERE, Scene, wait_for_content, without_settings};
use testkit::tools::repository;
use testkit::wait::TIMEOUT;
use testkit::{ApiServer, Process, tool};

/// Address of the vault in the pods.
const ADDRESS: &str = "http://openbao-firewall.vault.svc:8200";
/// Folders of the containers.
const FOLDERS: [&str; 4] = [
    "/home/vault",
    "/vault/secrets",
    "/vault/custom",
    "/var/run/secrets",
];
const NAMESPACE: &str = "injected";

/// A container of the pod for an auth method: `init` or `sidecar`.
fn container(method: &str, name: &str) -> Value {
    let file = repository().join("tests/injected/pods.json");
    let pods: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let found = &pods[method][name];
    assert!(found.is_object(), "{method} {name}");
    found.clone()
}

/// A running container; its root is a folder of the test.
struct Container(Process);

impl Container {
    fn start(scene: &Scene, root: &Path, method: &str, name: &str) -> Self {
        let container = container(method, name);
        let here = |text: &str| {
            let text = text.replace(ADDRESS, &format!("http://{}", scene.sandbox.data()));
            FOLDERS.iter().fold(text, |text, folder| {
                text.replace(folder, &format!("{}{folder}", root.display()))
            })
        };
        let words = |key: &str| -> Vec<String> {
            let list = container[key].as_array().unwrap().iter();
            list.map(|word| here(word.as_str().unwrap())).collect()
        };
        let (program, arguments) = (words("command"), words("args"));
        // It is in base64 in the pod, and the command decodes it.
        let configuration = here(&container["VAULT_CONFIG"].to_string());
        let encoded = serde_json::to_value(ByteString(configuration.into_bytes())).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(root.join("bin")).chain(std::env::split_paths(&path));
        let mut command = without_settings(&program[0], root);
        command
            .args(&program[1..])
            .args(arguments)
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("VAULT_CONFIG", encoded.as_str().unwrap())
            .env("VAULT_LOG_LEVEL", "info")
            .env("VAULT_LOG_FORMAT", "standard");
        Self(Process::start(name, command, root))
    }
}

impl Drop for Container {
    /// Ends the shell and the agent, as the end of a container does.
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process_group(group.unwrap(), Signal::KILL);
    }
}

/// Makes the folders of a pod's containers, with the credentials that are mounted there.
fn root(scene: &Scene, method: &str, credentials: &[(&str, &str)]) -> PathBuf {
    let root = scene.sandbox.at(method);
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    for folder in FOLDERS {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::create_dir_all(at("bin")).unwrap();
    // The image of OpenBao has the program under both names.
    symlink(tool("bao"), at("bin/vault")).unwrap();
    for (path, content) in credentials {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), content).unwrap();
    }
    root
}

/// An init container that is denied waits, and ends well once its address is allowed; then the sidecar works.
#[test]
fn injected_agents_get_the_secret_once_they_are_allowed() {
    let server = ApiServer::shared();
    let scene = Scene::start(ELSEWHERE);
    let (role_id, secret_id) = scene.app_role(r#"{"token_policies": "app"}"#);
    let child = scene.owner("POST auth/token/create", r#"{"policies": ["app"]}"#);
    let child = child["auth"]["client_token"].as_str().unwrap();
    logins::enable(&scene, server, NAMESPACE, "shop");
    let service_account = logins::token(server, NAMESPACE, "shop", "");
    let role = json!({
        "bound_service_account_names": "shop",
        "bound_service_account_namespaces": NAMESPACE,
        "token_policies": "app",
    });
    scene.owner("POST auth/kubernetes/role/shop", &role.to_string());
    let mounted = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    for (method, first, credentials) in [
        (
            "kubernetes",
            "/v1/auth/kubernetes/login",
            &[(mounted, service_account.as_str())][..],
        ),
        (
            "approle",
            "/v1/auth/approle/login",
            &[
                ("/vault/custom/role-id", role_id.as_str()),
                ("/vault/custom/secret-id", secret_id.as_str()),
            ],
        ),
        (
            "token",
            "/v1/auth/token/lookup-self",
            &[("/vault/custom/token", child)],
        ),
    ] {
        let root = root(&scene, method, credentials);
        let at = |path: &str| root.join(path);
        let before = scene.records().len();
        let mut init = Container::start(&scene, &root, method, "init");
        scene.wait_for_record(before, first, 403);
        scene.allow(HERE);
        let status = init.0.wait(TIMEOUT);
        assert!(
            status.is_some_and(|status| status.success()),
            "{method}: {status:?}"
        );
        scene.wait_for_record(before, first, 200);
        wait_for_content(&at("vault/secrets/app"), "correct horse");

        fs::remove_file(at("vault/secrets/app")).unwrap();
        let sidecar = Container::start(&scene, &root, method, "sidecar");
        wait_for_content(&at("vault/secrets/app"), "correct horse");
        assert!(at("home/vault/.vault-token").exists(), "{method}");
        drop(sidecar);
        scene.allow(ELSEWHERE);
    }
}
