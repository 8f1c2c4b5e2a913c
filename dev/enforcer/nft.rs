//! The program nft, which loads a ruleset in one transaction.

use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Far longer than nft takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One nftables table, kept by the program nft.
pub struct Nft {
    program: PathBuf,
    /// Name of the table, of family `ip`.
    pub table: String,
}

impl Nft {
    /// Names the program and the table; nothing is run yet.
    pub fn new(program: PathBuf, table: String) -> Self {
        Self { program, table }
    }

    /// Checks that the program exists and may change this network namespace.
    pub async fn check(&self) -> Result<(), String> {
        self.run(&["list", "tables"], "").await
    }

    /// Loads a ruleset in one transaction. After a failure, the earlier rules stay in force.
    pub async fn apply(&self, ruleset: &str) -> Result<(), String> {
        self.run(&["-f", "-"], ruleset).await
    }

    async fn run(&self, arguments: &[&str], stdin: &str) -> Result<(), String> {
        let shown = format!("{} {}", self.program.display(), arguments.join(" "));
        let ended = timeout(TIMEOUT, self.output(arguments, stdin)).await;
        let output = ended
            .map_err(|_| format!("{shown}: not done after {} s", TIMEOUT.as_secs()))?
            .map_err(|error| format!("{shown}: {error}: install nftables"))?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let error = stderr.lines().next().unwrap_or("it printed no error");
        Err(format!("{shown}: {}: {error}", output.status))
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
            // The status of a program that ends without reading explains more than the broken pipe.
            match pipe.write_all(stdin.as_bytes()).await {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        child.wait_with_output().await
    }
}
