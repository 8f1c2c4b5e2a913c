//! A folder and loopback addresses that belong to one test alone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::{Client, Verdict};
use crate::loopback::own_address;

/// Longer than anything here takes; only a test that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Who measures is alone.
static MEASURING: RwLock<()> = RwLock::new(());

enum Turn {
    Shared {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Alone {
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

/// Asks again and again until there is an answer.
pub(crate) fn soon<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) struct Sandbox {
    folder: TempDir,
    /// No other test, of this run or another, listens here.
    address: Ipv4Addr,
    _turn: Turn,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let turn = MEASURING
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Self::with(Turn::Shared { _guard: turn })
    }

    /// No other test runs meanwhile.
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

    /// The folder of the objects.
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

    /// Puts an object file in place at once, as a careful tool does.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let aside = self.path_of(&format!(".{name}.new"));
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.path_of(name)).unwrap();
    }

    /// A client of the data endpoint.
    pub(crate) fn client(&self, source: Ipv4Addr) -> Client {
        Client::new(source, self.data())
    }

    /// The verdict on a new connection.
    pub(crate) fn verdict(&self, source: Ipv4Addr) -> Verdict {
        self.client(source).verdict()
    }

    /// Waits until clients, each on a new connection, get these verdicts; several times in a row, because each of Envoy's
    /// workers begins with a new rule at a moment of its own, and a new connection may be any worker's.
    pub(crate) fn comes_to(&self, expected: &[(Ipv4Addr, Verdict)]) {
        let mut last = Vec::new();
        let mut in_a_row = 0;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            last = expected
                .iter()
                .map(|(source, _)| (*source, self.verdict(*source)))
                .collect();
            in_a_row = if last == expected { in_a_row + 1 } else { 0 };
            if in_a_row == 8 {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the verdicts should be {expected:?} and are {last:?}");
    }

    /// The verdicts, each on a new connection, are these now.
    pub(crate) fn is_at(&self, expected: &[(Ipv4Addr, Verdict)]) {
        for (source, verdict) in expected {
            assert_eq!(self.verdict(*source), *verdict, "{source}");
        }
    }

    /// The process id of the Envoy that Vaultwall runs, if it runs.
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

/// Whether a process runs; one that ended and that nobody asked about does not.
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
    }
}
