//! A folder and loopback addresses that belong to one test alone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use testkit::client::{Client, Verdict, wait_for_verdicts};
use testkit::own_address;
use testkit::tokens::assert_absent_in_logs;

/// Held for writing by a test that measures, and for reading by all others.
static MEASURING: RwLock<()> = RwLock::new(());

enum Turn {
    Shared {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

pub(crate) struct Sandbox {
    folder: TempDir,
    /// Address of this test alone.
    address: Ipv4Addr,
    _turn: Turn,
}

impl Sandbox {
    /// Creates one for a test that others may run next to.
    pub(crate) fn new() -> Self {
        let turn = MEASURING
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Self::with(Turn::Shared { _guard: turn })
    }

    /// The same for a test that measures: no other test of this module runs at the same time.
    pub(crate) fn alone() -> Self {
        let turn = MEASURING
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Self::with(Turn::Alone { _guard: turn })
    }

    fn with(turn: Turn) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("objects")).unwrap();
        fs::DirBuilder::new()
            .mode(0o700)
            .create(folder.path().join("state"))
            .unwrap();
        Self {
            folder,
            address: own_address(),
            _turn: turn,
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the folder of the object files.
    pub(crate) fn objects(&self) -> PathBuf {
        self.at("objects")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.at("state")
    }

    pub(crate) fn data(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, 8300)
    }

    pub(crate) fn management(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, 8400)
    }

    pub(crate) fn upstream(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, 8200)
    }

    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.objects().join(name)
    }

    /// Writes an object file with a rename, so that no reader sees a part of it.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let aside = self.path_of(&format!(".{name}.new"));
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.path_of(name)).unwrap();
    }

    /// Returns a client of the data endpoint.
    pub(crate) fn client(&self, source: Ipv4Addr) -> Client {
        Client::new(source, self.data())
    }

    /// Returns the verdict on a new connection.
    pub(crate) fn verdict(&self, source: Ipv4Addr) -> Verdict {
        self.client(source).verdict()
    }

    /// Waits until clients of the data endpoint, each on new connections, get these verdicts.
    pub(crate) fn wait_for_verdicts(&self, expected: &[(Ipv4Addr, Verdict)]) {
        wait_for_verdicts(self.data(), expected);
    }

    /// Checks the verdicts, each on a new connection.
    pub(crate) fn assert_verdicts(&self, expected: &[(Ipv4Addr, Verdict)]) {
        for (source, verdict) in expected {
            assert_eq!(self.verdict(*source), *verdict, "{source}");
        }
    }

    /// Returns the process id of the Envoy that Vaultwall runs, if it runs.
    pub(crate) fn envoy(&self) -> Option<Pid> {
        let noted = fs::read_to_string(self.state().join("envoy.pid")).ok()?;
        let pid = Pid::from_raw(noted.trim().parse().ok()?)?;
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).ok()?;
        let ours = self.state().join("bootstrap.pb");
        let mut words = command.split(|byte| *byte == 0);
        words
            .any(|word| word == ours.as_os_str().as_encoded_bytes())
            .then_some(pid)
    }
}

/// Whether a process runs; a zombie does not.
pub(crate) fn runs(pid: Pid) -> bool {
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid()));
    command.is_ok_and(|words| !words.is_empty())
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // An Envoy outlives a Vaultwall that was killed.
        if let Some(envoy) = self.envoy() {
            let _ = kill_process(envoy, Signal::KILL);
        }
        if !std::thread::panicking() {
            assert_absent_in_logs(self.folder.path());
        }
    }
}
