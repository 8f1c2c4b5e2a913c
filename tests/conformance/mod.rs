//! cyclonus' own conformance cases with the verdicts of its engine, read from the program that prints them
//! (`dev/cyclonus/cases`). Who includes this has `tool` beside it.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::{Deserialize, Deserializer};

use crate::tool::tool;

/// What is in the cluster after a step of a case, and what passes then.
#[derive(Deserialize)]
pub struct Step {
    pub case: usize,
    pub description: String,
    #[serde(rename = "step")]
    pub number: usize,
    #[serde(deserialize_with = "shared")]
    pub policies: Vec<Arc<NetworkPolicy>>,
    #[serde(deserialize_with = "shared")]
    pub namespaces: Vec<Arc<Namespace>>,
    #[serde(deserialize_with = "shared")]
    pub pods: Vec<Arc<Pod>>,
    /// `TCP/80`, …
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// What passes between two addresses.
#[derive(Deserialize)]
pub struct Row {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    /// One for each column: `.` passes, `i` ingress denies, `e` egress denies, `X` both deny.
    pub letters: String,
}

impl Step {
    pub fn name(&self) -> String {
        format!(
            "case {} ({}), step {}",
            self.case, self.description, self.number
        )
    }

    /// Protocols and ports, in the order of a row's letters.
    pub fn ports(&self) -> Vec<(&str, u16)> {
        self.columns
            .iter()
            .map(|column| {
                let (protocol, port) = column.split_once('/').unwrap();
                (protocol, port.parse().unwrap())
            })
            .collect()
    }
}

/// Objects as the agent holds them.
fn shared<'de, D, T>(deserializer: D) -> Result<Vec<Arc<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    // Go writes `null` for an empty list.
    let objects = Option::<Vec<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().flatten().map(Arc::new).collect())
}

/// Every step of every case, in order.
pub fn steps() -> Vec<Step> {
    let output = Command::new(tool("cyclonus-cases")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<Step> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!steps.is_empty());
    steps
}
