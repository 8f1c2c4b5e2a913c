//! `vaultwall diff`: who gains and who loses access by a change, before it is applied.
//!
//! It compares the firewalls of two sets of objects: of files and other files, or of files and the cluster.
//! `policy::difference` finds the callers, by asking the function that decides about requests.

mod callers;
mod clients;
mod objects;
mod report;
mod sides;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::arguments::{LimitArgs, duration};
use super::cluster::ClusterArgs;
use super::explain::source_ip;
use super::outcome::{Answer, Failure, Outcome};
use super::output::{self, Format, Output};
use super::validate::{self, CannotRead};
use crate::index::{Index, ObjectName, VaultResolution};
use crate::limits::Limits;
use crate::objects::LocatedViolation;
use crate::policy::difference::{KnownPods, Setting, difference, settings};
use crate::policy::{Resolution, VaultId};
use clients::Recent;
use report::{Author, Clients, Report, VaultReport};
use sides::{Before, Resolved, Sides, is_stand_in};

/// Show who gains and who loses access by a change, before it is applied.
///
/// Compares the files of -f with those of --against, as two complete sets; or, without --against, with the cluster, as
/// `kubectl apply -f` would change it. Exit code 0: nobody loses access. 1: somebody does, or an object is invalid. 2:
/// error, or no answer. With --clients, exit code 1 means that one of these clients, or the author, would be cut off.
#[derive(clap::Args, Debug)]
pub(super) struct Diff {
    /// File or folder with the objects after the change; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., required = true)]
    paths: Vec<PathBuf>,
    /// File or folder with the objects before the change, instead of the cluster; may be repeated.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    #[arg(conflicts_with_all = ["kubeconfig", "context"])]
    against: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The change also deletes the policies, virtual networks and trusted services of the cluster that are in no file.
    #[arg(long, conflicts_with = "against")]
    prune: bool,
    /// Address of the change's author, which is checked first; may be repeated.
    #[arg(long, value_name = "IP", value_parser = source_ip)]
    source_ip: Vec<IpAddr>,
    /// Pod of the change's author, which is checked first; may be repeated.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Vec<ObjectName>,
    /// File with the access log, or - for stdin, whose clients are checked.
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
    /// Time before the newest record of --clients from which records count.
    #[arg(long, value_name = "DURATION", default_value = "60m", value_parser = duration, requires = "clients")]
    since: Duration,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Reasons why there is no answer.
#[derive(Debug, thiserror::Error)]
enum DiffError {
    #[error(
        "there is no pod {0} with an address before or after the change; correct the name, or give its address with \
         --source-ip"
    )]
    NoSuchPod(ObjectName),
    #[error(
        "it is unknown whether somebody loses access: objects before the change are invalid, so the rules in force \
         may be earlier ones; correct these objects first"
    )]
    InvalidBefore,
    #[error(
        "it is unknown whether recent clients of vault {0} would be cut off: --clients has no request of the vault \
         that can be compared, or also some that cannot; give a file with records of its proxies, a longer --since, or \
         with -f and --against the pods that sent them"
    )]
    NoRecords(String),
}

impl Diff {
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        let limits: Limits = self.limits.into();
        let recent = self
            .clients
            .as_deref()
            .map(|path| Recent::read(path, self.since));
        let recent = recent.transpose()?;
        let mut sides = Sides::read(&self.paths, &self.before(), limits)?;
        validate::warn_of_assumed_namespaces(&sides.new);
        let mut errors = std::mem::take(&mut sides.old.errors);
        errors.append(&mut sides.new.errors);
        if !errors.is_empty() {
            return Err(Box::new(CannotRead(errors)));
        }
        if !sides.new.violations.is_empty() {
            return refuse(output, std::mem::take(&mut sides.new.violations));
        }
        let before = std::mem::take(&mut sides.old.violations);
        let objects = objects::changed(&sides.old, &sides.new);
        let mut resolved = sides.resolve(limits);
        let mut report = Report {
            objects,
            author: self.author(&resolved)?,
            ..Report::default()
        };
        for vault in resolved.vaults() {
            report.add(compare(&mut resolved, &vault, recent.as_ref()));
        }
        if let Some(recent) = &recent {
            report.clients = Some(Clients::of(recent));
        }
        self.answer(output, report, &before)
    }

    fn before(&self) -> Before<'_> {
        if self.against.is_empty() {
            Before::Cluster {
                args: &self.cluster,
                prune: self.prune,
            }
        } else {
            Before::Files(&self.against)
        }
    }

    /// Addresses of the author.
    fn author(&self, resolved: &Resolved) -> Result<Author, DiffError> {
        let mut author = Author::default();
        for address in &self.source_ip {
            author.addresses.push((address.to_string(), *address));
        }
        for name in &self.pod {
            let mut found = Vec::new();
            for index in [&resolved.old, &resolved.new] {
                found.extend(
                    index
                        .pod(name)
                        .into_iter()
                        .flat_map(|pod| pod.addresses.clone()),
                );
            }
            found.dedup();
            if found.is_empty() {
                return Err(DiffError::NoSuchPod(name.clone()));
            }
            let named = found
                .into_iter()
                .map(|address| (format!("pod {name}"), address.into()));
            author.addresses.extend(named);
        }
        Ok(author)
    }

    fn answer(
        &self,
        output: &mut Output,
        mut report: Report,
        before: &[LocatedViolation],
    ) -> Outcome {
        report.check_author();
        report.unknown = report.is_unknown(before);
        match output.format {
            Format::Json => output.json(&report)?,
            Format::Text => {
                if !report.violations.is_empty() {
                    output::message(&validate::violations(&report.violations));
                }
                output.text(&report.text())?;
            }
        }
        if report.unknown {
            output::message(&validate::violations(before));
        }
        if !report.violations.is_empty() || report.is_cut_off(self.clients.is_some()) {
            return Ok(Answer::No);
        }
        if report.unknown {
            return Err(Box::new(DiffError::InvalidBefore));
        }
        match report.without_records() {
            Some(vault) if self.clients.is_some() => {
                Err(Box::new(DiffError::NoRecords(vault.to_owned())))
            }
            _ => Ok(Answer::Yes),
        }
    }
}

/// Compares nothing: without the invalid objects, the rules after the change are not known.
fn refuse(output: &mut Output, violations: Vec<LocatedViolation>) -> Outcome {
    let report = Report {
        violations,
        ..Report::default()
    };
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Text => output::message(&validate::violations(&report.violations)),
    }
    Ok(Answer::No)
}

/// Compares one vault; `None` if nothing changes.
fn compare(
    resolved: &mut Resolved,
    vault: &VaultId,
    recent: Option<&Recent>,
) -> Option<VaultReport> {
    let old = resolution(&mut resolved.old, vault);
    let new = resolution(&mut resolved.new, vault);
    let pods: &KnownPods = &resolved.pods;
    let (before, after) = (
        old.as_ref().map(|found| &found.firewall),
        new.as_ref().map(|found| &found.firewall),
    );
    let refused = refused(vault, old.as_ref(), new.as_ref());
    if before == after && refused.is_empty() {
        return None;
    }
    let mut found = VaultReport::new(vault, before.is_some(), after.is_some());
    found.refused = refused;
    found.settings = settings(before, after);
    found.settings.retain_mut(without_stand_ins);
    if let Some(after) = after {
        found.set_difference(difference(before, after, pods));
    }
    if let (Some(recent), Some(before)) = (recent, before) {
        found.set_clients(recent.compare(&vault.to_string(), before, after, pods));
    }
    Some(found)
}

/// Removes the addresses of pods that stand for others; returns whether anything is left.
fn without_stand_ins(setting: &mut Setting) -> bool {
    let is_real = |value: &String| {
        let prefix: Option<Ipv4Net> = value.parse().ok();
        !prefix.is_some_and(|prefix| is_stand_in(prefix.network()))
    };
    setting.removed.retain(is_real);
    setting.added.retain(is_real);
    !setting.removed.is_empty() || !setting.added.is_empty()
}

fn resolution(index: &mut Index, vault: &VaultId) -> Option<Resolution> {
    index
        .resolve(vault)
        .map(|VaultResolution { resolution, .. }| resolution)
}

/// Policies that are valid alone, and that the change makes the operator refuse.
fn refused(
    vault: &VaultId,
    old: Option<&Resolution>,
    new: Option<&Resolution>,
) -> Vec<LocatedViolation> {
    let known = old.map(|old| old.refused.as_slice()).unwrap_or_default();
    let new = new.into_iter().flat_map(|new| &new.refused);
    let violations = new
        .filter(|refused| !known.contains(refused))
        .map(|refused| LocatedViolation {
            file: String::new(),
            kind: "VaultNetworkPolicy".to_owned(),
            namespace: Some(vault.namespace.clone()),
            name: refused.policy.clone(),
            field: refused.violation.field.clone(),
            reason: refused.violation.reason,
            message: refused.violation.message.clone(),
        });
    violations.collect()
}
