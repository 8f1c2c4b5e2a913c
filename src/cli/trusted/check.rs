//! `vaultwall trusted check`: compares the trusted services of a vault's firewall with the vault's own roles and
//! policies. `policy::vault_access` compares.

use std::fmt::Write as _;
use std::path::PathBuf;

use url::Url;

use super::vault::{Connection, Token};
use crate::cli::arguments::{LimitArgs, VaultName};
use crate::cli::cluster::{self, ClusterArgs};
use crate::cli::outcome::{Answer, Failure, Outcome};
use crate::cli::output::{Format, Output};
use crate::cli::process;
use crate::cli::unknown_vault::UnknownVault;
use crate::cli::validate::CannotRead;
use crate::index::Index;
use crate::limits::Limits;
use crate::objects::LoadedObjects;
use crate::policy::vault_access::{Finding, Mapped, Severity, Subject, compare};
use crate::policy::{Firewall, VaultApi, VaultId, accounts_of_identity};

/// Compare the trusted services of a vault with its own roles and policies.
///
/// Every identity that the firewall lets in also needs a role of the vault, with a policy that allows what its
/// scenarios have and no more. Without -f it reads the cluster. Exit code 0: no difference. 1: differences. 2: error,
/// or unknown.
#[derive(clap::Args, Debug)]
pub(super) struct Check {
    /// File or folder with policies, trusted services and Namespaces; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    #[arg(conflicts_with_all = ["kubeconfig", "context"])]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Service of the vault; its namespace may be in front of it, as NAMESPACE/SERVICE.
    #[arg(long, value_name = "SERVICE")]
    vault: VaultName,
    /// Namespace of the vault; without it, that of the kubeconfig's context.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// URL of the vault's API, for example of the management endpoint.
    #[arg(long, value_name = "URL", value_parser = address)]
    vault_addr: Url,
    /// Namespace in the vault, of which auth methods and policies are read.
    #[arg(long, value_name = "NAMESPACE")]
    vault_namespace: Option<String>,
    /// File with a token of the vault that may read auth methods, their roles, and policies. Without it, the
    /// environment variable `VAULT_TOKEN`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with certificates of authorities, in PEM, that the vault's certificate may have, besides those of Mozilla's
    /// list.
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Reasons why there is no answer.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(
        "no valid policy is for the vault {0}, so it is unknown which services it lets in; correct its policies, see \
         `vaultwall validate`"
    )]
    NoPolicy(VaultId),
    #[error(
        "the vault {0} has the API of Azure Key Vault, which has no roles and ACL policies; check its access policies \
         there"
    )]
    Azure(VaultId),
    #[error("{0} facts are unknown; see the findings")]
    Unknown(usize),
}

/// Parses the URL of a vault.
fn address(text: &str) -> Result<Url, &'static str> {
    const PROBLEM: &str =
        "write the URL of the vault without a path, such as https://openbao.vault.svc:8201";
    let url = Url::parse(text).map_err(|_| PROBLEM)?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if is_plain { Ok(url) } else { Err(PROBLEM) }
}

impl Check {
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        let token = Token::read(self.token_file.as_deref())?;
        let (firewall, mapped) = self.mapped()?;
        let connection = Connection::new(
            self.vault_addr.clone(),
            self.vault_namespace.clone(),
            self.ca_file.as_deref(),
            token,
        )?;
        let vault = process::runtime()?.block_on(connection.access())?;
        let namespace = self.vault_namespace.as_deref();
        let findings = compare(&mapped, &vault, &firewall.table(), namespace);
        match output.format {
            Format::Json => output.json(&findings)?,
            Format::Text => {
                let read = format!(
                    "{} and {} were read",
                    number(vault.roles.len(), "role", "roles"),
                    number(vault.policies.len(), "policy", "policies")
                );
                output.text(&text(&findings, &read))?;
            }
        }
        answer(&findings)
    }

    /// The vault's firewall, and the services that it lets in.
    fn mapped(&self) -> Result<(Firewall, Vec<Mapped>), Failure> {
        let limits: Limits = self.limits.into();
        let namespace = self.namespace.as_deref();
        self.vault.check(namespace)?;
        let from_files = !self.paths.is_empty();
        let vault = self
            .vault
            .id(namespace, (!from_files).then_some(&self.cluster))?;
        let loaded = if from_files {
            LoadedObjects::load(&self.paths, &limits)
        } else {
            cluster::to_check(&self.cluster, &vault, limits)?
        };
        if !loaded.errors.is_empty() {
            return Err(Box::new(CannotRead(loaded.errors)));
        }
        for violation in &loaded.violations {
            tracing::warn!(
                "{} {} is invalid and was not compared: {}: {}",
                violation.kind,
                violation.name,
                violation.field,
                violation.message
            );
        }
        let mut index = loaded.into_index(limits);
        let Some(resolved) = index.resolve(&vault) else {
            return Err(Box::new(UnknownVault::new(&vault, &index, from_files)));
        };
        if resolved.resolution.accepted.is_empty() {
            return Err(Box::new(CheckError::NoPolicy(vault)));
        }
        let firewall = resolved.resolution.firewall;
        if firewall.api == VaultApi::AzureKeyVault {
            return Err(Box::new(CheckError::Azure(vault)));
        }
        let mapped = services(&firewall, &index);
        Ok((firewall, mapped))
    }
}

/// The services that a firewall lets in, with all their identities, however they are proven.
fn services(firewall: &Firewall, index: &Index) -> Vec<Mapped> {
    let namespace = &firewall.vault.namespace;
    let services = firewall.grants.services();
    services
        .map(|grant| {
            let identities = grant.service.identities.iter();
            let subjects = identities.flat_map(|identity| {
                Subject::of(identity, accounts_of_identity(identity, namespace, index))
            });
            Mapped {
                service: grant.service.clone(),
                subjects: subjects.collect(),
            }
        })
        .collect()
}

fn answer(findings: &[Finding]) -> Outcome {
    let count = |severity: Severity| {
        let findings = findings.iter();
        findings
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let unknown = count(Severity::Unknown);
    if count(Severity::Error) + count(Severity::Warning) > 0 {
        Ok(Answer::No)
    } else if unknown > 0 {
        Err(Box::new(CheckError::Unknown(unknown)))
    } else {
        Ok(Answer::Yes)
    }
}

fn text(findings: &[Finding], read: &str) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding {
            severity,
            reason,
            object,
            message,
        } = finding;
        let _ = writeln!(text, "{severity:?} {reason}: {object}\n  {message}");
    }
    let found = match findings.len() {
        0 => "no findings".to_owned(),
        count => number(count, "finding", "findings"),
    };
    let _ = writeln!(text, "{found}; {read}");
    text
}

fn number(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_credentials_or_a_path_is_refused() {
        for (text, is_valid) in [
            ("https://openbao.vault.svc:8201", true),
            ("http://127.0.0.1:8200/", true),
            ("https://user:secret@vault", false),
            ("https://vault/v1/sys", false),
            ("https://vault?x=1", false),
            ("ftp://vault", false),
            ("vault:8200", false),
            ("", false),
        ] {
            assert_eq!(address(text).is_ok(), is_valid, "{text}");
        }
    }

    #[test]
    fn findings_without_a_known_difference_are_no_answer() {
        let of = |severity| Finding {
            severity,
            reason: "NoRole",
            object: String::new(),
            message: String::new(),
        };
        let code = |severities: &[Severity]| {
            let findings: Vec<Finding> = severities.iter().copied().map(of).collect();
            answer(&findings).ok()
        };
        assert_eq!(code(&[]), Some(Answer::Yes));
        assert_eq!(code(&[Severity::Note]), Some(Answer::Yes));
        assert_eq!(code(&[Severity::Unknown, Severity::Note]), None);
        assert_eq!(
            code(&[Severity::Error, Severity::Unknown]),
            Some(Answer::No)
        );
        assert_eq!(code(&[Severity::Warning]), Some(Answer::No));
    }
}
