//! The program nft, which puts a ruleset in force whole or not at all.

use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Far longer than nft takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where rules go.
pub struct Nft {
    program: PathBuf,
    /// The table that is ours.
    pub table: String,
}

impl Nft {
    pub fn new(program: PathBuf, table: String) -> Self {
        Self { program, table }
    }

    /// Whether the program is there, and may change this network namespace.
    pub async fn check(&self) -> Result<(), String> {
        self.run(&["list", "tables"], "").await
    }

    /// Puts the ruleset in force, in one transaction. A failure leaves in force what was.
    pub async fn apply(&self, ruleset: &str) -> Result<(), String> {
        self.run(&["-f", "-"], ruleset).await
    }

    async fn run(&self, arguments: &[&str], stdin: &str) -> Result<(), String> {
        let shown = format!("{} {}", self.program.display(), arguments.join(" "));
        let ended = timeout(PATIENCE, self.output(arguments, stdin)).await;
        let output = ended
            .map_err(|_| format!("{shown}: not done after {} s", PATIENCE.as_secs()))?
            .map_err(|error| format!("{shown}: {error}: install nftables"))?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let told = told.lines().next().unwrap_or("it did not say why");
        Err(format!("{shown}: {}: {told}", output.status))
    }

    async fn output(&self, arguments: &[&str], stdin: &str) -> io::Result<Output> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that ends without reading says why by its status.
            match pipe.write_all(stdin.as_bytes()).await {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        child.wait_with_output().await
    }
}
