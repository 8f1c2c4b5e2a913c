//! The real Envoy's opinion of a configuration, without running it.

use std::path::Path;
use std::process::Command;

use crate::tool::tool;

/// What is wrong with a bootstrap file (`.json`, or `.pb` in binary form), in Envoy's words; none if it is good.
pub fn objection(file: &Path) -> Option<String> {
    let output = Command::new(tool("envoy"))
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(file)
        .output()
        .unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    // Envoy has to say that it is good; silence proves nothing.
    let good = output.status.success() && words.ends_with(" OK");
    (!good).then(|| format!("{}: {words}", file.display()))
}
