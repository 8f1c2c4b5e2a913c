//! A proxy that runs beside the operator: a real Envoy, started with what the operator put into the cluster for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use vaultwall::compile::envoy::ARGUMENTS;

use crate::kubernetes::ApiServer;
use crate::sandbox::soon;
use crate::tool::tool;

/// Folders of a proxy's pod; here they are below a folder of the test's.
const FOLDERS: [(&str, &str); 3] = [
    ("/etc/envoy", "configuration"),
    ("/etc/vaultwall/identity", "identity"),
    ("/run/envoy", "run"),
];

pub(crate) struct Proxy {
    process: Child,
}

impl Proxy {
    /// Starts one with the `ConfigMap` and the Secret of this name. `moved`: the operator's address in them, and the one to
    /// ask instead, as a Service would choose one of several replicas.
    pub(crate) fn start(
        server: &ApiServer,
        namespace: &str,
        name: &str,
        folder: &Path,
        moved: &(String, String),
    ) -> Self {
        let files = |kind: &str| {
            soon(&format!("{kind} {namespace}/{name}"), || {
                let answer =
                    server.kubectl(&["get", kind, "-n", namespace, name, "-o", "json"], "");
                let object: Value = serde_json::from_slice(&answer.stdout).ok()?;
                object.get("data").cloned()
            })
        };
        for (_, below) in FOLDERS {
            fs::create_dir_all(folder.join(below)).unwrap();
        }
        write_files(&folder.join("identity"), &files("secret"), decoded);
        write_files(&folder.join("configuration"), &files("configmap"), |text| {
            let mut text = text.replace(&moved.0, &moved.1);
            for (there, here) in FOLDERS {
                text = text.replace(there, folder.join(here).to_str().unwrap());
            }
            text
        });
        let log = fs::File::create(folder.join("envoy.log")).unwrap();
        let process = Command::new(tool("envoy"))
            .arg("-c")
            .arg(folder.join("configuration/bootstrap.json"))
            .args(ARGUMENTS)
            .args(["--concurrency", "2"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_files(folder: &Path, files: &Value, form: impl Fn(&str) -> String) {
    for (name, text) in files.as_object().unwrap() {
        let path: PathBuf = folder.join(name);
        fs::write(path, form(text.as_str().unwrap())).unwrap();
    }
}

/// From base64.
fn decoded(text: &str) -> String {
    let bytes: k8s_openapi::ByteString =
        serde_json::from_value(Value::String(text.to_owned())).unwrap();
    String::from_utf8(bytes.0).unwrap()
}
