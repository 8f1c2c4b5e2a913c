//! The conformance cases of cyclonus with the verdicts of its engine, read from the program that prints them
//! (`dev/cyclonus/cases`).

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::{Deserialize, Deserializer};

use crate::tools::tool;

/// Objects in the cluster after a step of a case, and the packets that pass then.
#[derive(Deserialize)]
pub struct Step {
    /// Number of the case, from 1.
    pub case: usize,
    /// Title of the case.
    pub description: String,
    /// Number of the step in its case, from 1.
    #[serde(rename = "step")]
    pub number: usize,
    /// Policies of all namespaces.
    #[serde(deserialize_with = "shared")]
    pub policies: Vec<Arc<NetworkPolicy>>,
    /// Namespaces with their labels.
    #[serde(deserialize_with = "shared")]
    pub namespaces: Vec<Arc<Namespace>>,
    /// Pods with labels and addresses.
    #[serde(deserialize_with = "shared")]
    pub pods: Vec<Arc<Pod>>,
    /// Protocols and ports of the rows: `TCP/80`, …
    pub columns: Vec<String>,
    /// One row for each pair of pods.
    pub rows: Vec<Row>,
}

/// Verdicts on packets between two addresses.
#[derive(Deserialize)]
pub struct Row {
    /// Address of the sender.
    pub from: Ipv4Addr,
    /// Address of the receiver.
    pub to: Ipv4Addr,
    /// One for each column: `.` passes, `i` ingress denies, `e` egress denies, `X` both deny.
    pub letters: String,
}

impl Step {
    /// Returns case, description and step for a message.
    pub fn name(&self) -> String {
        format!(
            "case {} ({}), step {}",
            self.case, self.description, self.number
        )
    }

    /// Returns protocols and ports in the order of a row's letters.
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

/// Reads objects into shared pointers, as the agent holds them.
fn shared<'de, D, T>(deserializer: D) -> Result<Vec<Arc<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    // Go writes `null` for an empty list.
    let objects = Option::<Vec<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().flatten().map(Arc::new).collect())
}

/// Returns every step of every case, in order.
///
/// # Panics
///
/// If `cyclonus-cases` is not installed or fails.
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
