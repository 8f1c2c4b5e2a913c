//! The real Envoy: its check of a configuration, and proxies as the operator sets them up.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use k8s_openapi::ByteString;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api_server::ApiServer;
use crate::process::Process;
use crate::tools::tool;
use crate::wait::wait_for;

/// Folders of the pod of a proxy, and the folders below that of a test which take their place.
const FOLDERS: [(&str, &str); 3] = [
    ("/etc/envoy", "configuration"),
    ("/etc/vaultwall/identity", "identity"),
    ("/run/envoy", "run"),
];

/// Checks a bootstrap file (`.json`, or `.pb` in binary form) with `envoy --mode validate`. Returns Envoy's error, or
/// `None` if the file is valid.
pub fn validation_error(bootstrap: &Path) -> Option<String> {
    let output = Command::new(tool("envoy"))
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(bootstrap)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    // Without Envoy's own word that the file is valid, an exit code of 0 proves nothing.
    let valid = output.status.success() && text.ends_with(" OK");
    (!valid).then(|| format!("{}: {text}", bootstrap.display()))
}

/// Starts Envoy with a bootstrap file and further arguments. Its log is `envoy.log` in `folder`, its output on stdout
/// `envoy.stdout.log`.
pub fn start(bootstrap: &Path, arguments: &[&str], folder: &Path) -> Process {
    let mut command = Command::new(tool("envoy"));
    command.arg("-c").arg(bootstrap).args(arguments);
    Process::start_printing("envoy", command, folder)
}

/// Starts a proxy as its pod does: with the `ConfigMap`, the Secret and the arguments that the operator created under
/// `name`, once they exist, and these arguments besides. Every text `moved.0` in the objects, such as the address of an
/// operator, becomes `moved.1`.
pub fn start_proxy(
    server: &ApiServer,
    namespace: &str,
    name: &str,
    folder: &Path,
    moved: (Ipv4Addr, Ipv4Addr),
    arguments: &[&str],
) -> Process {
    let moved = (moved.0.to_string(), moved.1.to_string());
    let object = |path: &str| {
        let (group, resource) = path.rsplit_once('/').unwrap();
        let path = format!("{group}/namespaces/{namespace}/{resource}/{name}");
        wait_for(&path, || server.get(&path))
    };
    let secret = object("/api/v1/secrets");
    let config_map = object("/api/v1/configmaps");
    let deployment = object("/apis/apps/v1/deployments");
    let mut command = proxy_command(&secret, &config_map, &deployment, folder, |text| {
        text.replace(&moved.0, &moved.1)
    });
    command.args(arguments);
    Process::start_printing("envoy", command, folder)
}

/// Writes the files of a proxy's pod below `folder`, and returns the command of its container. `edit` changes each file
/// of the configuration.
pub fn proxy_command(
    secret: &Value,
    config_map: &Value,
    deployment: &Value,
    folder: &Path,
    edit: impl Fn(String) -> String,
) -> Command {
    let moved = |text: &str| {
        let replaced = |text: String, (there, here): &(&str, &str)| {
            text.replace(there, folder.join(here).to_str().unwrap())
        };
        FOLDERS.iter().fold(text.to_owned(), replaced)
    };
    for (_, below) in FOLDERS {
        fs::create_dir_all(folder.join(below)).unwrap();
    }
    for (name, text) in data::<String>(config_map) {
        let text = moved(&edit(text));
        fs::write(folder.join("configuration").join(name), text).unwrap();
    }
    for (name, bytes) in data::<ByteString>(secret) {
        fs::write(folder.join("identity").join(name), bytes.0).unwrap();
    }
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments: Vec<String> = serde_json::from_value(arguments.clone()).unwrap();
    let mut command = Command::new(tool("envoy"));
    command.args(arguments.iter().map(|argument| moved(argument)));
    command
}

fn data<T: DeserializeOwned>(object: &Value) -> BTreeMap<String, T> {
    serde_json::from_value(object["data"].clone()).unwrap()
}

/// One of Envoy's statistics, from its admin socket; none as long as there is none.
pub fn statistic(admin: &Path, name: &str) -> Option<u64> {
    let mut stream = UnixStream::connect(admin).ok()?;
    let filter = format!("GET /stats?filter=^{name}$ HTTP/1.1");
    write!(
        stream,
        "{filter}\r\nHost: proxy\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let value = answer.split(&format!("{name}: ")).nth(1)?;
    value.split_whitespace().next()?.parse().ok()
}
