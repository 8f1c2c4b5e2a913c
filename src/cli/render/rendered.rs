//! One vault's rendered objects, and the files that hold them. It decides nothing.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;
use serde_json::Value;

use crate::cli::outcome::Failure;
use crate::cli::output::{Output, yaml};
use crate::compile::envoy::{self, ConfigurationJson, Proxy};
use crate::compile::kubernetes::network_policy::{firewall_policy, vault_policy};
use crate::compile::kubernetes::protected_service::ProtectedService;
use crate::index::ServiceFact;
use crate::policy::{Resolution, VaultId};

/// Objects and resources of a vault's policies. As JSON it has exactly these keys, which are a stable contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenderedVault {
    /// `NAMESPACE/SERVICE`.
    pub(super) vault: String,
    /// Warnings for the owners of the policies, one sentence each.
    pub(super) warnings: Vec<String>,
    network_policies: Vec<NetworkPolicy>,
    /// Objects of the proxies, except the Secret.
    fleet: Vec<Value>,
    envoy: ConfigurationJson,
    #[serde(skip)]
    envoy_static: Value,
    /// Whether no `NetworkPolicy` is left out.
    #[serde(skip)]
    pub(super) is_complete: bool,
    #[serde(skip)]
    folder: String,
}

/// A file that cannot be written.
#[derive(Debug)]
struct CannotWrite {
    file: PathBuf,
    source: io::Error,
}

impl fmt::Display for CannotWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: cannot be written: {}; check the folder of --output-dir and its owner",
            self.file.display(),
            self.source
        )
    }
}

impl Error for CannotWrite {}

impl RenderedVault {
    /// Renders a resolution. Without the vault's Service it is unknown which pods are the vault's, so the vault's
    /// `NetworkPolicy` is left out, with a warning.
    pub(super) fn of(
        resolution: &Resolution,
        service: Option<&ServiceFact>,
        proxy: &Proxy,
        fleet: Vec<Value>,
        from_files: bool,
    ) -> Result<Self, Failure> {
        let firewall = &resolution.firewall;
        let VaultId {
            namespace,
            service: name,
        } = &firewall.vault;
        let mut warnings: Vec<String> = resolution
            .diagnostics()
            .map(|diagnostic| format!("policy {diagnostic}"))
            .collect();
        let mut network_policies = vec![firewall_policy(firewall)?];
        let service = match service {
            Some(service) => {
                ProtectedService::of(service, firewall.port).map_err(|error| error.to_string())
            }
            None if !from_files => Err(format!(
                "there is no Service {namespace}/{name} in the cluster; create it, or correct targetRef in the policies"
            )),
            None => Err(format!(
                "the Service {namespace}/{name} is in none of the files; add it, as \
                 `kubectl get service -n {namespace} {name} -o yaml` prints it"
            )),
        };
        let is_complete = service.is_ok();
        match service {
            Ok(service) => network_policies.push(vault_policy(&firewall.vault, &service)),
            Err(reason) => warnings.push(format!(
                "the NetworkPolicy {name}-vault is not rendered, and without it the firewall can be bypassed: {reason}"
            )),
        }
        let table = firewall.table();
        let configuration = envoy::configuration(firewall, &table, proxy);
        Ok(Self {
            vault: firewall.vault.to_string(),
            warnings,
            network_policies,
            fleet,
            envoy: ConfigurationJson::of(&configuration)?,
            envoy_static: envoy::to_json(&envoy::static_bootstrap(firewall, &table, proxy))?,
            is_complete,
            // Neither name has a slash, and a namespace has no dot, so no two vaults share a folder.
            folder: format!("{namespace}.{name}"),
        })
    }

    /// Prints it as YAML documents: the `NetworkPolicies`, the proxies' objects, then the Envoy resources.
    pub(super) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        output.yaml(&self.network_policies)?;
        output.yaml(&self.fleet)?;
        for (_, resources) in self.envoy.kinds() {
            output.yaml(resources)?;
        }
        Ok(())
    }

    /// Writes the files below `folder`, and returns their paths.
    pub(super) fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let folder = folder.join(&self.folder);
        let mut contents = vec![
            (
                folder.join("networkpolicies.yaml"),
                yaml(&self.network_policies)?,
            ),
            (folder.join("fleet.yaml"), yaml(&self.fleet)?),
            (
                folder.join("envoy-static.json"),
                json_text(&self.envoy_static)?,
            ),
        ];
        for (kind, resources) in self.envoy.kinds() {
            let file = folder.join("envoy").join(format!("{kind}.json"));
            contents.push((file, json_text(&resources)?));
        }
        let mut files = Vec::new();
        for (file, text) in contents {
            replace(&file, &text).map_err(|source| CannotWrite {
                file: file.clone(),
                source,
            })?;
            files.push(file);
        }
        Ok(files)
    }
}

fn json_text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}

/// Replaces a file as a whole: an Envoy may watch the folder.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = file.with_extension("unfinished");
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, file));
    if written.is_err() {
        // It may not exist.
        let _ = fs::remove_file(&unfinished);
    }
    written
}
