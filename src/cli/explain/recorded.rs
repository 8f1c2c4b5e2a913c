//! A decision of the access log, as the request that was decided.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::answer::step;
use crate::access_log::Record;
use crate::cli::arguments::VaultName;
use crate::cli::records::{Records, RecordsError};
use crate::policy::token::Claims;
use crate::policy::{Reason, Step};
use crate::vault_api::{Request, Table, classify};

/// Queries that change the operation of a path. The log has no query.
const QUERIES: [&str; 3] = ["", "?list=true", "?scan=true"];

/// A decision that cannot be found, or not be explained.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordedError {
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(
        "--id {id}: {log} has no such decision among its {records}; an older one can be in a rotated file, and one of \
         another proxy in that proxy's log"
    )]
    Unknown {
        id: String,
        log: String,
        records: String,
    },
    #[error(
        "--id {id}: the decision is one of the vault {of}, and --vault is {asked}; leave --vault out"
    )]
    OtherVault {
        id: String,
        of: String,
        asked: VaultName,
    },
    #[error(
        "--id {id}: its record in {log} has no valid field {field}, so the request is not known"
    )]
    Incomplete {
        id: String,
        log: PathBuf,
        field: &'static str,
    },
}

/// A decision of the access log.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) record: Record,
    /// The vault of the record.
    pub(super) vault: VaultName,
    /// Address of the peer.
    pub(super) peer: IpAddr,
    /// Address of the client, if it is another one.
    pub(super) client: Option<IpAddr>,
}

impl Recorded {
    /// Looks a decision up. If several records have its id, the last one counts.
    pub(super) fn find(
        id: &str,
        log: &Path,
        asked: Option<&VaultName>,
    ) -> Result<Self, RecordedError> {
        let mut records = Records::open(log)?;
        let mut found = None;
        let mut times: Option<(Timestamp, Timestamp)> = None;
        let mut take = |record: Record| {
            let time = record.time;
            let (first, last) = times.unwrap_or((time, time));
            times = Some((first.min(time), last.max(time)));
            if record.decision_id.as_deref() == Some(id) {
                found = Some(record);
            }
        };
        while let Some(record) = records.next()? {
            take(record);
        }
        records.rest().map(take);
        records.check()?;
        let Some(record) = found else {
            let range = times.map(|(first, last)| format!(" from {first} to {last}"));
            return Err(RecordedError::Unknown {
                id: id.to_owned(),
                log: records.name(),
                records: format!("{} records{}", records.read, range.unwrap_or_default()),
            });
        };
        Self::of(record, id, log, asked)
    }

    fn of(
        record: Record,
        id: &str,
        log: &Path,
        asked: Option<&VaultName>,
    ) -> Result<Self, RecordedError> {
        let incomplete = |field| RecordedError::Incomplete {
            id: id.to_owned(),
            log: log.to_owned(),
            field,
        };
        let vault: VaultName = record.vault.parse().map_err(|_| incomplete("vault"))?;
        if let Some(asked) = asked
            && !asked.may_be(&vault)
        {
            return Err(RecordedError::OtherVault {
                id: id.to_owned(),
                of: record.vault,
                asked: asked.clone(),
            });
        }
        let peer = record.peer().ok_or_else(|| incomplete("directIpAddress"))?;
        for (field, value) in [
            ("method", &record.method),
            ("requestUri", &record.request_uri),
        ] {
            if value.is_none() {
                return Err(incomplete(field));
            }
        }
        Ok(Self {
            vault,
            peer,
            client: record.client().filter(|client| *client != peer),
            record,
        })
    }

    /// Whether the request is taken as one with a token of the vault. The log does not show it, but for one reason.
    pub(super) fn has_vault_token(&self) -> bool {
        self.record.judged() != Some(Reason::ForbiddenByMissingToken.name())
    }

    /// Claims of the token that proved an identity.
    pub(super) fn claims(&self) -> Option<Claims> {
        let identity = self.record.proven_identity()?;
        Some(identity.claims())
    }

    /// The path with the query that leads to the row of the record, if one of those that change the operation does.
    pub(super) fn target(&self, table: &Table, request: &Request<'_>) -> String {
        let path = self.record.request_uri.clone().unwrap_or_default();
        let targets = QUERIES.map(|query| format!("{path}{query}"));
        let is_same = |target: &String| {
            let row = classify(table, &Request { target, ..*request });
            row.ok().map(|row| &*row.name) == self.record.route.as_deref()
        };
        targets.into_iter().find(is_same).unwrap_or(path)
    }

    /// The recorded decision, and what of the request is not in the log.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step> {
        let record = &self.record;
        let reason = record.judged().unwrap_or("none");
        let decision = format!(
            "{reason} at {}, for {} at the {} endpoint",
            record.time, self.peer, record.listener
        );
        let mut unknown = vec!["the log has no query"];
        if self.has_vault_token() {
            unknown.push("it does not show a token of the vault, so that one is taken as sent");
        }
        if record.token_problem.is_some() {
            unknown.push("the token in X-Vaultwall-Token proved nothing");
        }
        unknown.push("pods, labels and policies are those of today");
        let problem = record
            .client_address_warning
            .iter()
            .chain(&record.token_problem);
        [step("recorded", decision)]
            .into_iter()
            .chain(problem.map(|problem| step("recorded", problem.clone())))
            .chain([step("assumed", unknown.join("; "))])
            .collect::<Vec<_>>()
            .into_iter()
    }
}
