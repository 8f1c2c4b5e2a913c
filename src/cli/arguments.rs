//! Arguments that several subcommands share, and the parsers of their values.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use super::cluster::{self, ClusterArgs};
use super::outcome::Failure;
use crate::limits::Limits;
use crate::policy::VaultId;
use crate::runtime::issuer_keys::{Authorities, AuthoritiesError, KeyOptions};

/// Limits of the installation, as in the operator's chart values; never above the ceilings of the CRD's schema.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct LimitArgs {
    /// Highest number of virtual-network rules in a policy, at most 200.
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT)]
    #[arg(value_parser = number(0..=Limits::VIRTUAL_NETWORK_RULES_CEILING))]
    max_virtual_network_rules: usize,
    /// Highest number of IP rules in a policy, at most 1000.
    #[arg(long, value_name = "N", default_value_t = Limits::DEFAULT)]
    #[arg(value_parser = number(0..=Limits::IP_RULES_CEILING))]
    max_ip_rules: usize,
    /// Allow rules with `ignoreMissingServiceEndpoint` that select pods in other namespaces, whose owners have not
    /// opted in.
    #[arg(long)]
    allow_ignore_missing_service_endpoint: bool,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self {
            virtual_network_rules: args.max_virtual_network_rules,
            ip_rules: args.max_ip_rules,
            ignore_missing_service_endpoint: args.allow_ignore_missing_service_endpoint,
        }
    }
}

/// How keys of token issuers are fetched.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct KeyArgs {
    /// File with certificates of authorities, in PEM, that the https servers of token issuers' keys may have, besides
    /// those of Mozilla's list.
    #[arg(long, value_name = "PATH")]
    issuer_ca_file: Option<PathBuf>,
    /// Time between two fetches of the same keys.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    keys_poll_interval: Duration,
    /// Time after which keys that no fetch confirmed are no longer used. Then no token of their issuer proves an
    /// identity.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    keys_expire_after: Duration,
}

impl TryFrom<KeyArgs> for KeyOptions {
    type Error = AuthoritiesError;

    fn try_from(args: KeyArgs) -> Result<Self, AuthoritiesError> {
        let authorities = Authorities::new(args.issuer_ca_file.as_deref())?;
        Ok(Self {
            poll: args.keys_poll_interval,
            expire_after: args.keys_expire_after,
            ..Self::new(authorities)
        })
    }
}

/// Parses a duration such as `90s`, `5m` or `24h`, at least one second.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<Duration> = text
        .parse::<SignedDuration>()
        .ok()
        .and_then(|parsed| parsed.try_into().ok());
    parsed
        .filter(|parsed| *parsed >= Duration::from_secs(1))
        .ok_or_else(|| "write a duration of at least one second, for example 90s, 5m or 24h".into())
}

/// The vault on the command line: `NAMESPACE/SERVICE`, or `SERVICE` with the namespace in another argument, as for
/// kubectl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VaultName {
    namespace: Option<String>,
    service: String,
}

impl VaultName {
    /// Namespace in front of the name, if any.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Checks that `--namespace` does not contradict the namespace in front of the name.
    ///
    /// # Errors
    ///
    /// They name two namespaces.
    pub(super) fn check(&self, given: Option<&str>) -> Result<(), VaultNameError> {
        match (self.namespace(), given) {
            (Some(own), Some(given)) if own != given => Err(VaultNameError::TwoNamespaces {
                vault: self.clone(),
                namespace: given.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The vault. Without a namespace of its own, it is in the given one; without that, in the current one of the
    /// cluster, if a cluster is read.
    ///
    /// # Errors
    ///
    /// The namespace is unknown, or cannot be read from the kubeconfig.
    pub(super) fn id(
        &self,
        given: Option<&str>,
        cluster: Option<&ClusterArgs>,
    ) -> Result<VaultId, Failure> {
        let namespace = match (self.namespace().or(given), cluster) {
            (Some(namespace), _) => namespace.to_owned(),
            (None, Some(cluster)) => cluster::current_namespace(cluster)?,
            (None, None) => return Err(Box::new(VaultNameError::NoNamespace(self.clone()))),
        };
        Ok(VaultId {
            namespace,
            service: self.service.clone(),
        })
    }
}

impl FromStr for VaultName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, service) = match text.split_once('/') {
            Some((namespace, service)) => (Some(namespace), service),
            None => (None, text),
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains('/');
        if !namespace.is_none_or(is_name) || !is_name(service) {
            return Err("write SERVICE or NAMESPACE/SERVICE, for example openbao or vault/openbao");
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            service: service.to_owned(),
        })
    }
}

impl fmt::Display for VaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.service)
    }
}

/// A vault on the command line whose namespace is unknown or contradictory.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultNameError {
    #[error(
        "--vault {0} has no namespace, and files have no current one: add --namespace NAMESPACE, or write \
         NAMESPACE/SERVICE"
    )]
    NoNamespace(VaultName),
    #[error("--namespace {namespace} and --vault {vault} name two namespaces; write one of them")]
    TwoNamespaces { vault: VaultName, namespace: String },
    #[error("--namespace cannot be used with -f, except for the namespace of --vault")]
    OfFiles,
}

/// Parses a number in this range; clap has no ranges for `usize`.
pub(super) fn number(
    range: RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("write a number from {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    #[rustfmt::skip] // a table
    fn a_vault_is_a_service_with_or_without_a_namespace() {
        for (text, vault) in [
            ("openbao", Some("here/openbao")), ("vault/openbao", Some("vault/openbao")),
            ("", None), ("/", None), ("/openbao", None), ("vault/", None), ("a/b/c", None),
        ] {
            let read = text.parse::<VaultName>().ok();
            assert_eq!(read.as_ref().map(ToString::to_string).as_deref(), vault.map(|_| text));
            let found = read.map(|name| name.id(Some("here"), None).unwrap().to_string());
            assert_eq!(found.as_deref(), vault, "{text}");
        }
    }
}
