//! The vault, and one build of Vaultwall in front of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::client::{SECRET, TOKEN, Verdict, connect, wait_for_verdicts};
use testkit::process::cpu_time;
use testkit::wait::wait_for;
use testkit::{OpenBao, Process, own_address, tool};

/// The client that the rules allow.
const ADMITTED: Ipv4Addr = Ipv4Addr::new(127, 10, 0, 1);
/// Longer than the vault takes to answer, also under load.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// Interval over which [`Build::rest`] measures CPU time.
const INTERVAL: Duration = Duration::from_millis(50);

/// Policy and network that allow [`ADMITTED`].
const OBJECTS: &str = "\
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: openbao, port: 8200}
  vault: {engines: [{path: secret, type: KvV2}]}
  virtualNetworkRules: [{subnet: {virtualNetwork: corp, name: fixed}}]
---
apiVersion: vaultwall.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: corp}
spec: {subnets: [{name: fixed, serviceEndpoints: [Vault], addressPrefixes: [127.10.0.1/32]}]}
";

/// The vault that all builds protect.
pub(crate) struct Vault {
    server: OpenBao,
    _folder: TempDir,
}

impl Vault {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            server: OpenBao::start(SocketAddrV4::new(own_address(), 8200), folder.path()),
            _folder: folder,
        }
    }
}

/// A running `vaultwall serve`.
pub(crate) struct Build {
    pub(crate) name: &'static str,
    pub(crate) data: SocketAddrV4,
    pub(crate) management: SocketAddrV4,
    folder: TempDir,
    _process: Process,
}

impl Build {
    pub(crate) fn start(name: &'static str, program: &Path, vault: &Vault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("objects.yaml"), OBJECTS).unwrap();
        let address = own_address();
        let (data, management) = (
            SocketAddrV4::new(address, 8300),
            SocketAddrV4::new(address, 8400),
        );
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("-f")
            .arg(folder.path().join("objects.yaml"))
            .args(["--upstream", &vault.server.address().to_string()])
            .args(["--data-listen", &data.to_string()])
            .args(["--management-listen", &management.to_string()])
            .arg("--envoy")
            .arg(tool("envoy"))
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .args(["--access-log", "/dev/null"])
            .stdin(Stdio::null());
        let process = Process::start("vaultwall", command, folder.path());
        wait_for_verdicts(data, &[(ADMITTED, Verdict::Allowed)]);
        Self {
            name,
            data,
            management,
            folder,
            _process: process,
        }
    }

    /// Sends a request of the admitted client on a new connection. Returns the time until the answer, and the problem
    /// if the answer is not 200.
    pub(crate) fn ask(&self) -> (Duration, Result<(), String>) {
        let started = Instant::now();
        let outcome = self.answer();
        (started.elapsed(), outcome)
    }

    fn answer(&self) -> Result<(), String> {
        let mut stream =
            connect(ADMITTED, self.data, TIMEOUT).map_err(|error| error.to_string())?;
        let request =
            format!("GET {SECRET} HTTP/1.1\r\nHost: vault\r\nX-Vault-Token: {TOKEN}\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        let mut start = [0; 12];
        stream
            .read_exact(&mut start)
            .map_err(|error| error.to_string())?;
        match &start {
            b"HTTP/1.1 200" => Ok(()),
            other => Err(String::from_utf8_lossy(other).into_owned()),
        }
    }

    fn envoy(&self) -> String {
        let path = self.folder.path().join("state/envoy.pid");
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// Waits until Envoy has done what an attack made it do at once, so that what is measured is what the attack holds.
    pub(crate) fn rest(&self) {
        let mut last: Option<(Instant, Duration)> = None;
        wait_for("Envoy rests", || {
            let now = (Instant::now(), cpu_time(self.envoy()));
            let (since, before) = *last.get_or_insert(now);
            if now.0 - since < INTERVAL {
                return None;
            }
            last = Some(now);
            (now.1 < before + INTERVAL / 50).then_some(())
        });
    }

    /// Begins a new measurement of [`Self::peak`].
    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.envoy()), "5").unwrap();
    }

    /// Most memory of Envoy since [`Self::forget_peak`], in MiB.
    pub(crate) fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.envoy())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes: u64 = line
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap();
        kilobytes / 1024
    }

    /// Waits until Envoy has closed the connections of an attack.
    pub(crate) fn settle(&self) {
        let descriptors = format!("/proc/{}/fd", self.envoy());
        wait_for("Envoy has closed the connections", || {
            (fs::read_dir(&descriptors).unwrap().count() < 300).then_some(())
        });
    }
}

impl Drop for Build {
    /// Ends Envoy, which outlives a Vaultwall that is killed.
    fn drop(&mut self) {
        if let Some(envoy) = self.envoy().parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(envoy, Signal::KILL);
        }
    }
}
