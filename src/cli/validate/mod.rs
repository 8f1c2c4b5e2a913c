//! `vaultwall validate`: reports every violation of the objects in files or in the cluster, and references in the
//! cluster that lead nowhere.

mod references;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::arguments::LimitArgs;
use super::cluster::{self, Checked, ClusterArgs};
use super::outcome::{Answer, Failure, Outcome};
use super::output::{Format, Output};
use crate::limits::Limits;
use crate::objects::{LoadError, LoadedObjects, LocatedViolation};
use crate::policy::{DiagnosticReason, Resolution};
use references::{Unresolved, unresolved};

/// Check objects in files or in the cluster and report every violation.
///
/// Without -f it checks the policies, virtual networks and trusted services of the cluster; with --namespace, the
/// policies of that namespace. It also lists references to objects that do not exist or do not fit, which are no
/// violations: the exit code stays 0. With -f it reads files: `VaultNetworkPolicy`, `VirtualNetwork` and
/// `TrustedService` objects, and Namespaces, Pods, `ServiceAccounts` and Services as `kubectl get -o yaml` prints them.
/// Files are YAML or JSON, may hold several documents, and Lists.
#[derive(clap::Args, Debug)]
pub(super) struct Validate {
    /// File, or folder with .yaml, .yml and .json files at any depth; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    #[arg(conflicts_with_all = ["kubeconfig", "context", "namespace"])]
    paths: Vec<PathBuf>,
    /// Namespace whose policies are checked; without it, all namespaces.
    #[arg(short, long, value_name = "NAMESPACE", value_parser = cluster::namespace)]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Files that could not be read, so that it is unknown whether all objects are valid.
#[derive(Debug)]
pub(super) struct CannotRead(pub(super) Vec<LoadError>);

impl fmt::Display for CannotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Error for CannotRead {}

impl Validate {
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        let limits: Limits = self.limits.into();
        let from_files = !self.paths.is_empty();
        let (mut loaded, unresolved) = if from_files {
            (LoadedObjects::load(&self.paths, &limits), Vec::new())
        } else {
            self.of_cluster(limits)?
        };
        for (kind, count) in &loaded.ignored {
            tracing::info!("ignored {count} of kind {kind}, which no firewall needs");
        }
        warn_of_assumed_namespaces(&loaded);
        if loaded.is_empty() {
            let place = if from_files {
                "the paths of -f".to_owned()
            } else {
                self.namespace
                    .map_or("the cluster".into(), |name| format!("namespace {name}"))
            };
            tracing::warn!("no objects were found in {place}");
        }
        match output.format {
            Format::Json => {
                let violations = loaded.violations.iter().map(Row::Violation);
                let rows = violations.chain(unresolved.iter().map(Row::Unresolved));
                output.json(&rows.collect::<Vec<_>>())?;
            }
            Format::Text => {
                let unresolved = unresolved_text(&unresolved);
                output.text(&(text(&loaded, from_files) + &unresolved))?;
            }
        }
        let is_valid = loaded.violations.is_empty();
        let errors = std::mem::take(&mut loaded.errors);
        warn_of_trusted_ranges(loaded, limits);
        if !errors.is_empty() {
            return Err(Box::new(CannotRead(errors)));
        }
        Ok(if is_valid { Answer::Yes } else { Answer::No })
    }

    /// The objects of the cluster, and their references that lead nowhere, if what they refer to can be read.
    fn of_cluster(&self, limits: Limits) -> Result<(LoadedObjects, Vec<Unresolved>), Failure> {
        let Checked {
            objects,
            referenced,
        } = cluster::to_validate(&self.cluster, self.namespace.as_deref(), limits)?;
        let unresolved = match referenced {
            Ok(referenced) => unresolved(&objects, referenced, limits),
            Err(error) => {
                tracing::warn!("references were not checked: {error}");
                Vec::new()
            }
        };
        Ok((objects, unresolved))
    }
}

/// Warns of ranges of trusted proxies that contain addresses of pods.
fn warn_of_trusted_ranges(loaded: LoadedObjects, limits: Limits) {
    let mut index = loaded.into_index(limits);
    let vaults: Vec<_> = index.vaults().cloned().collect();
    for vault in vaults {
        let resolved = index.resolve(&vault);
        let resolution = resolved.iter().map(|resolved| &resolved.resolution);
        for diagnostic in resolution.flat_map(Resolution::diagnostics) {
            if diagnostic.reason == DiagnosticReason::TrustedRangeHoldsPods {
                tracing::warn!("policy {}/{diagnostic}", vault.namespace);
            }
        }
    }
}

/// A row of the JSON answer: all have the same keys.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Violation(&'a LocatedViolation),
    Unresolved(&'a Unresolved),
}

/// Warns of objects of files without a namespace: the one that is assumed here need not be kubectl's.
pub(super) fn warn_of_assumed_namespaces(loaded: &LoadedObjects) {
    for located in &loaded.assumed {
        tracing::warn!("{}", located.assumed_namespace());
    }
}

/// The violations, or the number of objects.
fn text(loaded: &LoadedObjects, from_files: bool) -> String {
    if !loaded.violations.is_empty() {
        return violations(&loaded.violations);
    }
    if loaded.objects.is_empty() && !loaded.errors.is_empty() {
        let files = counted(loaded.errors.len(), "file", "files");
        return format!("nothing was checked: {files} could not be read\n");
    }
    let services = match loaded.trusted_services().count() {
        0 => String::new(),
        count => format!(
            ", {}",
            counted(count, "trusted service", "trusted services")
        ),
    };
    let facts = counted(loaded.facts(), "Kubernetes object", "Kubernetes objects");
    format!(
        "{}: {}, {}{services}{}\n",
        if loaded.errors.is_empty() {
            "valid"
        } else {
            "valid, except for the files that could not be read"
        },
        counted(loaded.policies().count(), "policy", "policies"),
        counted(
            loaded.virtual_networks().count(),
            "virtual network",
            "virtual networks"
        ),
        if from_files {
            format!(", {facts}")
        } else {
            String::new()
        },
    )
}

/// The violations, and a last line with their number.
pub(super) fn violations(violations: &[LocatedViolation]) -> String {
    table(violations) + &counted(violations.len(), "violation\n", "violations\n")
}

/// The references that lead nowhere, and a last line with their number; empty without one.
fn unresolved_text(unresolved: &[Unresolved]) -> String {
    if unresolved.is_empty() {
        return String::new();
    }
    let count = counted(
        unresolved.len(),
        "reference leads nowhere, and allows no client",
        "references lead nowhere, and allow no client",
    );
    format!("{}{count}\n", table(unresolved))
}

/// A table for each object with the fields, reasons and messages of its violations.
fn table<R: fmt::Display>(violations: &[LocatedViolation<R>]) -> String {
    let mut lines = Vec::new();
    for object in violations.chunk_by(same_object) {
        let Some(first) = object.first() else {
            continue;
        };
        let shown = |text: &str, otherwise: &str| {
            if text.is_empty() {
                otherwise.to_owned()
            } else {
                text.escape_debug().to_string()
            }
        };
        let place = match first.namespace.as_deref() {
            None => format!("{}: ", first.file),
            Some(_) => String::new(),
        };
        let namespace = match first.namespace.as_deref() {
            None | Some("") => String::new(),
            Some(namespace) => format!("{namespace}/"),
        };
        lines.push(format!(
            "{place}{} {namespace}{}",
            shown(&first.kind, "(no kind)"),
            shown(&first.name, "(no name)")
        ));
        let width = |cell: fn(&LocatedViolation<R>) -> String| {
            object
                .iter()
                .map(|v| cell(v).chars().count())
                .max()
                .unwrap_or(0)
        };
        let (fields, reasons) = (width(field), width(reason));
        for violation in object {
            let (field, reason) = (field(violation), reason(violation));
            lines.push(format!(
                "  {field:fields$}  {reason:reasons$}  {}",
                violation.message
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn same_object<R>(one: &LocatedViolation<R>, other: &LocatedViolation<R>) -> bool {
    let key = |of: &LocatedViolation<R>| {
        (
            of.file.clone(),
            of.kind.clone(),
            of.namespace.clone(),
            of.name.clone(),
        )
    };
    key(one) == key(other)
}

fn field<R>(violation: &LocatedViolation<R>) -> String {
    if violation.field.is_empty() {
        "(object)".to_owned()
    } else {
        violation.field.clone()
    }
}

fn reason<R: fmt::Display>(violation: &LocatedViolation<R>) -> String {
    violation.reason.to_string()
}
