//! `vaultwall serve`: standalone mode.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use super::addresses::{listen, plain_http};
use super::arguments::{KeyArgs, LimitArgs};
use super::outcome::{Answer, Outcome};
use super::output::Output;
use super::process;
use crate::compile::envoy::Upstream;
use crate::policy::VaultId;
use crate::standalone::{self, Options};

/// Protect a vault with a local Envoy, without a cluster. The policies are files; changes take effect at once.
///
/// The access log goes to stdout, one JSON record for each request. Vaultwall's own log goes to stderr.
///
/// SIGTERM, SIGINT and SIGQUIT stop Vaultwall and its Envoy. SIGUSR1 opens the access log again, after a rotation.
/// SIGHUP does the same and reads all files again.
#[derive(clap::Args, Debug)]
pub(super) struct Serve {
    /// File or folder with objects; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    /// Address of the vault itself, which is reached by plain HTTP: `HOST:PORT` or `http://HOST:PORT`. Envoy resolves a
    /// DNS name again every 5 seconds.
    #[arg(long, value_name = "HOST:PORT", value_parser = plain_http)]
    upstream: Upstream,
    /// Address of the data endpoint: IPv4 address and port.
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    data_listen: SocketAddrV4,
    /// Address of the management endpoint: IPv4 address and port.
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    management_listen: SocketAddrV4,
    /// Path of the Envoy program.
    #[arg(long, value_name = "PATH", default_value = "envoy")]
    envoy: PathBuf,
    /// The vault to protect; needed only if the files have policies for several.
    #[arg(long, value_name = "NAMESPACE/SERVICE")]
    vault: Option<VaultId>,
    /// File that the access log is appended to; if it does not exist, it is created with mode 0600.
    #[arg(long, value_name = "PATH", default_value = "/dev/stdout")]
    access_log: PathBuf,
    /// Folder for sockets and Envoy's bootstrap; it must belong to this user. A run with the same folder takes over the
    /// Envoy that an earlier run left behind.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Serve {
    pub(super) fn run(self, _output: &mut Output) -> Outcome {
        let state = self
            .state_dir
            .unwrap_or_else(|| default_state(self.data_listen.port()));
        let options = Options {
            paths: self.paths,
            vault: self.vault,
            upstream: self.upstream,
            data: self.data_listen,
            management: self.management_listen,
            access_log: std::path::absolute(self.access_log)?.display().to_string(),
            envoy: self.envoy,
            state: std::path::absolute(state)?,
            keys: self.keys.try_into()?,
            limits: self.limits.into(),
        };
        process::runtime()?.block_on(async {
            standalone::run(options, process::controls()?).await?;
            Ok(Answer::Yes)
        })
    }
}

/// Default state folder, one for each user and data endpoint.
fn default_state(port: u16) -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder).join(format!("vaultwall-{port}")),
        None => std::env::temp_dir().join(format!("vaultwall-{user}-{port}")),
    }
}
