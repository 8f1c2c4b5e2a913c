//! Finds the records of requests in the access log. Each request of the table has a user agent of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::fallible::Fallible;
use crate::requests::Answer;

/// Timeout for the records; Envoy flushes the log every 100 ms.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The fields of a record that the demo reads.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub decision_id: String,
    user_agent: Option<String>,
    reason: Option<String>,
    virtual_network_host_rule: Option<String>,
    virtual_network_rule: Option<String>,
    ip_rule: Option<String>,
    http_status_code: u16,
    response_details: Option<String>,
}

impl Record {
    /// Verdict, and its reason.
    pub fn answer(&self) -> Answer {
        let vault = self.response_details.as_deref() == Some("via_upstream");
        let verdict = if vault { "pass" } else { "deny" };
        let rule = self.rule().map(|rule| format!(" {rule}"));
        Answer {
            verdict: format!("{verdict} {}", self.http_status_code),
            why: format!(
                "{}{}",
                self.reason.as_deref().unwrap_or("no reason"),
                rule.unwrap_or_default()
            ),
        }
    }

    /// The rule that decided, if a rule did.
    pub fn rule(&self) -> Option<&str> {
        match self.reason.as_deref()? {
            "VirtualNetworkRule" => self
                .virtual_network_host_rule
                .as_deref()
                .or(self.virtual_network_rule.as_deref()),
            "IpRule" => self.ip_rule.as_deref(),
            _ => None,
        }
    }

    /// Reason code, or an empty string.
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    /// Whether the vault answered.
    pub fn passed(&self) -> bool {
        self.answer().verdict.starts_with("pass")
    }
}

/// The log of one firewall.
pub struct AccessLog {
    path: PathBuf,
}

impl AccessLog {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Waits for the records of these user agents, and returns them.
    pub async fn records(&self, agents: &[String]) -> Fallible<Vec<Record>> {
        let started = Instant::now();
        loop {
            let found = self.read()?;
            let records: Option<Vec<Record>> = agents
                .iter()
                .map(|agent| found.get(agent).cloned())
                .collect();
            match records {
                Some(records) => return Ok(records),
                None if started.elapsed() > TIMEOUT => {
                    return Err(
                        format!("{}: not every request has a record", self.path.display()).into(),
                    );
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn read(&self) -> Fallible<HashMap<String, Record>> {
        let text = std::fs::read_to_string(&self.path)?;
        let mut found = HashMap::new();
        // The last line may be incomplete.
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let record: Record = serde_json::from_str(line)
                .map_err(|error| format!("{}: {error}: {line}", self.path.display()))?;
            if let Some(agent) = record.user_agent.clone() {
                found.insert(agent, record);
            }
        }
        Ok(found)
    }
}
