//! The state folder: only this user may write in it. It has the sockets, Envoy's bootstrap, and the ids of both
//! processes.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::StandaloneError;

/// Creates the state folder, which only this user may write: another user could replace the configuration.
pub(super) fn prepare(path: &Path) -> Result<(), StandaloneError> {
    let failed = |problem: String| StandaloneError::State {
        path: path.to_owned(),
        problem,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| failed(e.to_string()))?;
    let metadata = fs::symlink_metadata(path).map_err(|e| failed(e.to_string()))?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::getuid().as_raw() {
        return Err(failed("it is not a folder of this user's own".into()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(failed("other users can write in it".into()));
    }
    Ok(())
}

/// The file `vaultwall.pid` in the state folder: the id of this process, for tools that send it signals. Dropping it
/// removes the file.
pub(super) struct ProcessId(PathBuf);

impl ProcessId {
    pub(super) fn write(state: &Path) -> Self {
        let path = state.join("vaultwall.pid");
        if let Err(error) = fs::write(&path, format!("{}\n", std::process::id())) {
            tracing::warn!(
                "{}: cannot be written: {error}; tools that send signals have to find this process in another way",
                path.display()
            );
        }
        Self(path)
    }
}

impl Drop for ProcessId {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
