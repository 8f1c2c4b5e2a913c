//! All processes of the demo: a real `OpenBao`, and in front of it a real Envoy with either `vaultwall serve` and a
//! copy of the quickstart example, or the operator and a cluster that has the example's objects. They use their usual
//! ports on loopback addresses of the demo's own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::cluster::Cluster;
use crate::fallible::Fallible;
use crate::http::{Client, Request};
use crate::requests::{Caller, Endpoint};
use crate::server::Server;
use testkit::own_address;
use testkit::report::Report;

/// Root token of the vault, which keeps its data in memory and listens on loopback, only while the demo runs.
pub const TOKEN: &str = "demo-root-token";
/// Caller address in no rule; only health probes from it are admitted.
const PROBE_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 50, 1);

/// All processes. Dropping it ends them: the firewall first, then the vault.
pub struct Stage {
    pub vaultwall: Server,
    /// Envoy, unless `vaultwall serve` runs it.
    proxy: Option<Server>,
    openbao: Server,
    /// The cluster that Vaultwall watches, if it does not watch files.
    pub cluster: Option<Cluster>,
    pub programs: Programs,
    /// Folder with a copy of the quickstart example, which Vaultwall watches or whose objects are in the cluster.
    pub policies: PathBuf,
    pub access_log: PathBuf,
    /// Home folder of `bao`.
    pub home: PathBuf,
    data: SocketAddrV4,
    management: SocketAddrV4,
}

/// Programs that the demo runs.
pub struct Programs {
    pub vaultwall: PathBuf,
    pub bao: PathBuf,
    envoy: PathBuf,
}

impl Stage {
    /// Starts everything with files below `folder`, and reports each step.
    pub async fn start(folder: &Path, report: &Report) -> Fallible<Self> {
        let programs = Programs::find()?;
        let policies = folder.join("quickstart");
        copy_examples(&policies)?;
        let address = own_address();
        let vault = SocketAddrV4::new(address, 8200);
        let openbao = start_vault(&programs, vault, folder, report).await?;

        let envoy = version(&programs.envoy, "--version")?;
        report.line(&format!(
            "starting vaultwall serve, with {}",
            shorten(&envoy)
        ))?;
        let data = SocketAddrV4::new(address, 8300);
        let management = SocketAddrV4::new(address, 8400);
        let access_log = folder.join("access.log");
        let state = folder.join("state");
        let mut command = Command::new(&programs.vaultwall);
        command
            .arg("serve")
            .arg("-f")
            .arg(&policies)
            .args(["--upstream", &vault.to_string()])
            .args(["--data-listen", &data.to_string()])
            .args(["--management-listen", &management.to_string()])
            .arg("--envoy")
            .arg(&programs.envoy)
            .arg("--access-log")
            .arg(&access_log)
            .arg("--state-dir")
            .arg(&state)
            // The demo shows its messages.
            .env("RUST_LOG", "info");
        let mut vaultwall =
            Server::start("vaultwall serve", command, &folder.join("vaultwall.log"))?
                .with_child(state.join("envoy.pid"), state.join("bootstrap.pb"));
        let log = folder.join("vaultwall.log");
        let in_force =
            || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("in force at"));
        let took = vaultwall
            .ready(async || in_force() && healthy(data).await && healthy(management).await)
            .await?;
        report.line(&format!(
            "  its data endpoint is {data}, its management endpoint {management}, after {} ms",
            took.as_millis()
        ))?;
        Ok(Self {
            vaultwall,
            proxy: None,
            openbao,
            cluster: None,
            programs,
            policies,
            access_log,
            home: folder.to_owned(),
            data,
            management,
        })
    }

    /// Starts everything with the API of a cluster and the operator.
    pub async fn start_cluster(folder: &Path, report: &Report) -> Fallible<Self> {
        let programs = Programs::find()?;
        let policies = folder.join("quickstart");
        copy_examples(&policies)?;
        let vault = SocketAddrV4::new(own_address(), 8200);
        let openbao = start_vault(&programs, vault, folder, report).await?;

        report.line(
            "starting etcd and kube-apiserver, applying vaultwall crds and examples/quickstart",
        )?;
        let started = Instant::now();
        let cluster = Cluster::start(&policies).await?;
        report.line(&format!(
            "  done after {} ms",
            started.elapsed().as_millis()
        ))?;

        let (operator, proxy) = (own_address(), own_address());
        let data = SocketAddrV4::new(proxy, 8200);
        let management = SocketAddrV4::new(proxy, 8300);
        report.line("starting vaultwall controller")?;
        let mut command = Command::new(&programs.vaultwall);
        command
            .arg("controller")
            .arg("--kubeconfig")
            .arg(&cluster.kubeconfig)
            .args(["--xds-listen", &format!("{operator}:8500")])
            .args(["--xds-address", &format!("{operator}:8500")])
            .args(["--operations-listen", &format!("{operator}:8080")])
            .args(["--local-proxy", &format!("vault/openbao={proxy},{vault}")]);
        let log = folder.join("vaultwall.log");
        let mut vaultwall = Server::start("vaultwall controller", command, &log)?;
        let took = vaultwall.ready(async || cluster.has_proxies()).await?;
        report.line(&format!(
            "  it has created the proxy's objects after {} ms",
            took.as_millis()
        ))?;

        let envoy = version(&programs.envoy, "--version")?;
        report.line(&format!("starting {} with these", shorten(&envoy)))?;
        let access_log = folder.join("access.log");
        let command = cluster.proxy(&folder.join("proxy"))?;
        let log = folder.join("envoy.log");
        let mut proxy = Server::start_printing("Envoy", command, &access_log, &log)?;
        let took = proxy
            .ready(async || healthy(data).await && healthy(management).await)
            .await?;
        cluster.programmed()?;
        report.line(&format!(
            "  its data endpoint is {data}, its management endpoint {management}, after {} ms",
            took.as_millis()
        ))?;
        Ok(Self {
            vaultwall,
            proxy: Some(proxy),
            openbao,
            cluster: Some(cluster),
            programs,
            policies,
            access_log,
            home: folder.to_owned(),
            data,
            management,
        })
    }

    /// `vaultwall explain` with the objects that Vaultwall enforces.
    pub fn explain(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.programs.vaultwall);
        command.arg("explain").kill_on_drop(true);
        match &self.cluster {
            Some(cluster) => command.arg("--kubeconfig").arg(&cluster.kubeconfig),
            None => command.arg("-f").arg(&self.policies),
        };
        command
    }

    /// Processes that have ended by themselves, as the end of a sentence.
    pub fn ended(&mut self) -> Option<String> {
        let servers = [&mut self.vaultwall, &mut self.openbao];
        let ended: Vec<String> = servers
            .into_iter()
            .chain(&mut self.proxy)
            .filter_map(Server::ended)
            .collect();
        (!ended.is_empty()).then(|| format!(" ({})", ended.join(", ")))
    }

    pub fn address(&self, endpoint: Endpoint) -> SocketAddrV4 {
        match endpoint {
            Endpoint::Data => self.data,
            Endpoint::Management => self.management,
        }
    }

    /// A client with the caller's address.
    pub fn client(&self, caller: &Caller, endpoint: Endpoint) -> Client {
        Client::new(caller.address, self.address(endpoint))
    }
}

impl Programs {
    fn find() -> Fallible<Self> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin");
        // Cargo puts examples into a folder next to the binaries.
        let demo = std::env::current_exe()?;
        let built = demo.parent().and_then(Path::parent).unwrap_or(&tools);
        let found = Self {
            vaultwall: built.join("vaultwall"),
            bao: tools.join("bao"),
            envoy: tools.join("envoy"),
        };
        for program in [&found.vaultwall, &found.bao, &found.envoy] {
            if !program.exists() {
                return Err(format!(
                    "{} is missing; `make demo` builds and installs what the demo needs",
                    program.display()
                )
                .into());
            }
        }
        Ok(found)
    }
}

async fn start_vault(
    programs: &Programs,
    vault: SocketAddrV4,
    folder: &Path,
    report: &Report,
) -> Fallible<Server> {
    let said = version(&programs.bao, "version")?;
    let name = said.split(" (").next().unwrap_or(&said);
    report.line(&format!("starting {name}"))?;
    let mut command = Command::new(&programs.bao);
    command
        .args(["server", "-dev", "-dev-no-store-token"])
        .arg(format!("-dev-root-token-id={TOKEN}"))
        .arg(format!("-dev-listen-address={vault}"))
        .env_clear()
        .env("HOME", folder);
    let mut openbao = Server::start("OpenBao", command, &folder.join("openbao.log"))?;
    let took = openbao.ready(async || healthy(vault).await).await?;
    report.line(&format!(
        "  it listens on {vault} after {} ms",
        took.as_millis()
    ))?;
    Ok(openbao)
}

fn copy_examples(to: &Path) -> Fallible<()> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(&from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Returns the version that a program prints.
fn version(program: &Path, argument: &str) -> Fallible<String> {
    let said = Command::new(program).arg(argument).output()?;
    let text = String::from_utf8_lossy(&said.stdout);
    let line = text.lines().find(|line| !line.trim().is_empty());
    match line {
        Some(line) if said.status.success() => Ok(line.trim().to_owned()),
        _ => Err(format!("{} does not run: {}", program.display(), said.status).into()),
    }
}

/// Envoy's `PATH version: COMMIT/VERSION/…` as `Envoy VERSION`.
fn shorten(version: &str) -> String {
    match version.split('/').rev().nth(3) {
        Some(number) => format!("Envoy {number}"),
        None => version.to_owned(),
    }
}

/// Whether a health probe gets 200: from an unsealed vault, or from a firewall with rules in front of one.
async fn healthy(address: SocketAddrV4) -> bool {
    let probe = Request {
        method: "GET".into(),
        target: "/v1/sys/health".into(),
        ..Request::default()
    };
    let answer = Client::new(PROBE_ADDRESS, address).send(&probe).await;
    answer.is_ok_and(|answer| answer.status == 200)
}
