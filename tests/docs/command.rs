//! Commands of a page, run in a folder of the page's own with the repository's examples in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::docs::page::root;

/// The folder that a page's commands run in: a copy of what a reader has at the root of a clone.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for private in ["home", "run", "target"] {
            fs::create_dir(folder.path().join(private)).unwrap();
        }
        copy(&root().join("examples"), &folder.path().join("examples"));
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns a shell command with the tools that the pages use.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_vaultwall"));
        let mut path = vec![
            program.parent().unwrap().to_owned(),
            root().join(".tools/bin"),
        ];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .current_dir(self.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("HOME", self.path().join("home"))
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .env("LC_ALL", "C.UTF-8")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        for variable in std::env::vars_os().map(|(name, _)| name) {
            let name = variable.to_string_lossy();
            if ["VAULT_", "BAO_", "VAULTWALL_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                command.env_remove(&variable);
            }
        }
        command
    }

    /// Exit code, and stdout and stderr as a terminal would mix them.
    pub(crate) fn run(&self, script: &str) -> (Option<i32>, String) {
        let output = self
            .shell(&format!("{{ {script}\n}} 2>&1"))
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }
}

fn copy(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else {
        return;
    };
    fs::create_dir(to).unwrap();
    for entry in entries {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}
