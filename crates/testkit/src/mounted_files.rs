//! Files as in a mounted Secret or `ConfigMap`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Creates or replaces the files of a volume as the kubelet does: each file is a link to `..data`, which is a link to a
/// folder of this version. That link is replaced, so that all files change at once.
///
/// # Panics
///
/// If a file cannot be written.
pub fn mount<T: AsRef<str>>(volume: &Path, files: &[(&str, T)]) {
    fs::create_dir_all(volume).unwrap();
    let number = fs::read_dir(volume).unwrap().count();
    let version: PathBuf = format!("..version-{number}").into();
    fs::create_dir(volume.join(&version)).unwrap();
    for (name, text) in files {
        fs::write(volume.join(&version).join(name), text.as_ref()).unwrap();
        let link = volume.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    symlink(&version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}
