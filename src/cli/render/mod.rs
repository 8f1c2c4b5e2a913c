//! `vaultwall render`: prints the objects and resources that the policies in files or in the cluster compile to, for
//! people and for `kubectl apply`. It reads, resolves and compiles like the operator; `rendered` writes the result of
//! one vault.

mod rendered;

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::addresses;
use super::arguments::{LimitArgs, VaultName, VaultNameError};
use super::cluster::{self, ClusterArgs, Scope};
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Format, Output};
use super::unknown_vault::UnknownVault;
use super::validate::{self, CannotRead};
use crate::compile::ProxyPorts;
use crate::compile::envoy::{MetricsPort, Proxy, Upstream};
use crate::compile::kubernetes::proxies::{self, Identity, ProxyInputs};
use crate::index::{Index, VaultResolution};
use crate::limits::Limits;
use crate::objects::{LoadedObjects, LocatedViolation};
use crate::policy::{Firewall, ProxySettings, RefusedPolicy, Resolution, ValidatedPolicy, VaultId};
use rendered::RenderedVault;

/// Message about objects that are not in the output.
const LEFT_OUT: &str = "left out: the Secret <service>-firewall with the proxies' certificate, and the objects' \
                        owners; only the operator has them\n";

/// Print the `NetworkPolicies`, the objects of the proxies and the Envoy resources that policies compile to.
///
/// Without -f it reads the policies of the cluster, and prints the same as the operator would apply. Without
/// --output-dir it prints a stream of YAML documents: for each vault its `NetworkPolicies`, the objects of its proxies,
/// and its Envoy resources, each with its `@type`. The Secret with the proxies' certificate and the objects' owners are
/// left out: only the operator has them. If any object is invalid, nothing is rendered. Exit code 1 also means that a
/// `NetworkPolicy` is left out because the vault's Service is missing; the rest is printed.
#[derive(clap::Args, Debug)]
pub(super) struct Render {
    /// File, or folder with .yaml, .yml and .json files at any depth; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    #[arg(conflicts_with_all = ["kubeconfig", "context"])]
    paths: Vec<PathBuf>,
    /// Namespace whose vaults are rendered; without it, all namespaces, or that of the kubeconfig's context for a vault
    /// without a namespace.
    #[arg(short, long, value_name = "NAMESPACE", value_parser = cluster::namespace)]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Folder to write files to, instead of stdout: for each vault `NAMESPACE.SERVICE/networkpolicies.yaml`,
    /// `fleet.yaml` (the objects of the proxies), `envoy/KIND.json`, and `envoy-static.json`, which Envoy can run as it
    /// is. Overwrites these files, and deletes none.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Vault to render; its namespace may be in front of it, as NAMESPACE/SERVICE. Without this flag, all vaults.
    #[arg(long, value_name = "SERVICE")]
    vault: Option<VaultName>,
    /// Address of the vault itself, instead of its Service's.
    #[arg(long, value_name = "HOST:PORT", value_parser = addresses::upstream)]
    upstream: Option<Upstream>,
    /// Address of the data endpoint, instead of the proxies' port in a cluster.
    #[arg(long, value_name = "ADDR")]
    data_listen: Option<SocketAddrV4>,
    /// Address of the management endpoint, instead of the proxies' port in a cluster.
    #[arg(long, value_name = "ADDR")]
    management_listen: Option<SocketAddrV4>,
    /// Envoy image of the proxies, the same as the operator's --proxy-image.
    #[arg(long, value_name = "IMAGE", default_value = proxies::ENVOY_IMAGE)]
    proxy_image: String,
    /// Address at which the proxies find the operator, the same as the operator's --xds-address.
    #[arg(long, value_name = "HOST:PORT", default_value = proxies::OPERATOR_ADDRESS)]
    #[arg(value_parser = addresses::upstream)]
    xds_address: Upstream,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Render {
    pub(super) fn run(mut self, output: &mut Output) -> Outcome {
        let limits: Limits = self.limits.into();
        let wanted = self.wanted()?;
        let mut loaded = if self.reads_files() {
            LoadedObjects::load(&self.paths, &limits)
        } else {
            cluster::to_render(&self.cluster, self.scope(wanted.as_ref()), limits)?
        };
        validate::warn_of_assumed_namespaces(&loaded);
        let errors = std::mem::take(&mut loaded.errors);
        if !errors.is_empty() || !loaded.violations.is_empty() {
            // A part of the objects could open more than all of them together, so nothing is rendered.
            refuse(output, &loaded.violations)?;
            return if errors.is_empty() {
                Ok(Answer::No)
            } else {
                Err(Box::new(CannotRead(errors)))
            };
        }
        let files = PolicyFiles::of(&loaded, self.reads_files());
        let mut index = loaded.into_index(limits);
        let vaults = self.vaults(&index, wanted.as_ref())?;
        if vaults.is_empty() {
            let place = self.place(wanted.as_ref(), "the paths of -f");
            tracing::warn!("no VaultNetworkPolicy was found in {place}");
        }
        let mut rendered = Vec::new();
        let mut violations = Vec::new();
        for vault in vaults {
            let Some(VaultResolution { resolution, .. }) = index.resolve(&vault) else {
                continue;
            };
            if resolution.refused.is_empty() {
                rendered.push(self.render(&index, &resolution)?);
            } else {
                violations.extend(files.violations(&vault, &resolution));
            }
        }
        if !violations.is_empty() {
            refuse(output, &violations)?;
            return Ok(Answer::No);
        }
        for vault in &rendered {
            for warning in &vault.warnings {
                tracing::warn!("vault {}: {warning}", vault.vault);
            }
        }
        if !rendered.is_empty() {
            output::message(LEFT_OUT);
        }
        match self.output_dir.take() {
            Some(folder) => write(output, &rendered, &folder)?,
            None => print(output, &rendered)?,
        }
        Ok(if rendered.iter().all(|vault| vault.is_complete) {
            Answer::Yes
        } else {
            Answer::No
        })
    }

    fn reads_files(&self) -> bool {
        !self.paths.is_empty()
    }

    /// The vault to render, if one is chosen.
    fn wanted(&self) -> Result<Option<VaultId>, Failure> {
        let Some(vault) = &self.vault else {
            return if self.reads_files() && self.namespace.is_some() {
                Err(Box::new(VaultNameError::OfFiles))
            } else {
                Ok(None)
            };
        };
        vault.check(self.namespace.as_deref())?;
        let cluster = (!self.reads_files()).then_some(&self.cluster);
        vault.id(self.namespace.as_deref(), cluster).map(Some)
    }

    fn scope<'a>(&'a self, wanted: Option<&'a VaultId>) -> Scope<'a> {
        match (wanted, &self.namespace) {
            (Some(vault), _) => Scope::Vault(vault),
            (None, Some(namespace)) => Scope::Namespace(namespace),
            (None, None) => Scope::Cluster,
        }
    }

    /// Origin of the objects, for messages.
    fn place(&self, wanted: Option<&VaultId>, files: &'static str) -> String {
        match self.scope(wanted) {
            _ if self.reads_files() => files.to_owned(),
            Scope::Vault(VaultId { namespace, .. }) => format!("namespace {namespace}"),
            Scope::Namespace(namespace) => format!("namespace {namespace}"),
            Scope::Cluster => "the cluster".to_owned(),
        }
    }

    /// The vaults to render.
    fn vaults(&self, index: &Index, wanted: Option<&VaultId>) -> Result<Vec<VaultId>, Failure> {
        let known: Vec<VaultId> = index.vaults().cloned().collect();
        if let Some(vault) = wanted {
            return if known.contains(vault) {
                Ok(vec![vault.clone()])
            } else {
                let unknown = UnknownVault::new(vault, index, self.reads_files());
                Err(Box::new(unknown))
            };
        }
        let overrides = [
            (self.upstream.is_some(), "--upstream"),
            (self.data_listen.is_some(), "--data-listen"),
            (self.management_listen.is_some(), "--management-listen"),
        ];
        match overrides.iter().find(|(given, _)| *given) {
            Some((_, flag)) if known.len() > 1 => {
                let names: Vec<String> = known.iter().map(ToString::to_string).collect();
                Err(format!(
                    "{flag} is for one vault, and {} has policies for several: {}; choose one with --vault",
                    self.place(wanted, "the set of files"),
                    names.join(", ")
                )
                .into())
            }
            _ => Ok(known),
        }
    }

    fn render(&self, index: &Index, resolution: &Resolution) -> Result<RenderedVault, Failure> {
        let firewall = &resolution.firewall;
        RenderedVault::of(
            resolution,
            index.service(&firewall.vault),
            &self.proxy(firewall, &resolution.proxy),
            self.proxy_objects(resolution)?,
            self.reads_files(),
        )
    }

    /// The objects of the proxies, without the Secret and the owners, which only the operator has.
    fn proxy_objects(&self, resolution: &Resolution) -> Result<Vec<Value>, Failure> {
        let Firewall { vault, port, .. } = &resolution.firewall;
        let ports = ProxyPorts::of(*port);
        let Upstream { host, port } = &self.xds_address;
        let objects = proxies::objects(&ProxyInputs {
            vault,
            ports,
            settings: &resolution.proxy,
            image: &self.proxy_image,
            files: proxies::files(
                vault,
                MetricsPort::in_cluster(ports),
                &resolution.proxy,
                host,
                *port,
            )?,
            identity: &Identity::default(),
            owners: &[],
        });
        let mut objects = objects.to_json()?;
        // The Secret's type requires a certificate and a key: the API server refuses one without them.
        objects.retain(|object| object.get("kind") != Some(&json!("Secret")));
        Ok(objects)
    }

    /// A proxy in the cluster, with the addresses of the command line.
    fn proxy(&self, firewall: &Firewall, settings: &ProxySettings) -> Proxy {
        let Proxy {
            data,
            management,
            upstream,
            access_log,
            streams_denials,
            tls,
            http2,
        } = Proxy::in_cluster(
            firewall,
            proxies::tls(&firewall.vault, settings),
            settings.http2,
        );
        Proxy {
            data: self.data_listen.unwrap_or(data),
            management: self.management_listen.unwrap_or(management),
            upstream: self.upstream.clone().or(upstream),
            access_log,
            streams_denials,
            tls,
            http2,
        }
    }
}

/// Prints the violations. As text they go to stderr: stdout has only objects, and may be piped to `kubectl apply`.
fn refuse(output: &mut Output, violations: &[LocatedViolation]) -> std::io::Result<()> {
    match output.format {
        Format::Json => output.json(&json!({"vaults": [], "violations": violations})),
        Format::Text if violations.is_empty() => Ok(()),
        Format::Text => {
            output::message(&validate::violations(violations));
            Ok(())
        }
    }
}

fn print(output: &mut Output, rendered: &[RenderedVault]) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.json(&json!({"vaults": rendered, "violations": []}))?,
        Format::Text => {
            for vault in rendered {
                vault.print(output)?;
            }
        }
    }
    Ok(())
}

/// Writes the files, and prints their paths.
fn write(output: &mut Output, rendered: &[RenderedVault], folder: &Path) -> Result<(), Failure> {
    let mut vaults = Vec::new();
    for vault in rendered {
        let files = vault.write(folder)?;
        if output.format == Format::Text {
            for file in &files {
                output.text(&format!("{}\n", file.display()))?;
            }
        }
        vaults.push(json!({"vault": vault.vault, "files": files, "warnings": vault.warnings}));
    }
    if output.format == Format::Json {
        output.json(&json!({"vaults": vaults, "violations": []}))?;
    }
    Ok(())
}

/// The file of each policy, which the index does not keep.
struct PolicyFiles {
    from_files: bool,
    /// Namespace, name, file.
    places: Vec<(String, String, String)>,
}

impl PolicyFiles {
    fn of(loaded: &LoadedObjects, from_files: bool) -> Self {
        let place = |(file, policy): (&Path, &ValidatedPolicy)| {
            (
                policy.vault.namespace.clone(),
                policy.name.clone(),
                file.display().to_string(),
            )
        };
        Self {
            from_files,
            places: loaded.policies().map(place).collect(),
        }
    }

    /// Violations of policies that are valid alone, but refused together with others.
    fn violations(&self, vault: &VaultId, resolution: &Resolution) -> Vec<LocatedViolation> {
        let located = |refused: &RefusedPolicy| {
            let file = self
                .places
                .iter()
                .find(|(namespace, name, _)| {
                    *namespace == vault.namespace && *name == refused.policy
                })
                .map(|(_, _, file)| file.clone());
            LocatedViolation {
                file: file.unwrap_or_default(),
                kind: "VaultNetworkPolicy".to_owned(),
                namespace: (!self.from_files).then(|| vault.namespace.clone()),
                name: refused.policy.clone(),
                field: refused.violation.field.clone(),
                reason: refused.violation.reason,
                message: refused.violation.message.clone(),
            }
        };
        resolution.refused.iter().map(located).collect()
    }
}
