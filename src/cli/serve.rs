//! `vaultwall serve`: standalone mode.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use super::validate::LimitArgs;
use super::{Answer, Outcome, Output};
use crate::compile::envoy::Upstream;
use crate::policy::VaultId;
use crate::standalone::{self, Options};

/// Protect a vault with a local Envoy, without a cluster: the policies are files, and are watched.
///
/// The access log goes to stdout, one JSON record a request; what Vaultwall itself has to say goes to stderr.
#[derive(clap::Args, Debug)]
pub(super) struct Serve {
    /// File or folder of objects; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    /// The vault's own address.
    #[arg(long, value_name = "HOST:PORT", value_parser = upstream)]
    upstream: Upstream,
    /// Where the data endpoint listens, an IPv4 address and port.
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    data_listen: SocketAddrV4,
    /// Where the management endpoint listens, an IPv4 address and port.
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    management_listen: SocketAddrV4,
    /// The Envoy binary.
    #[arg(long, value_name = "PATH", default_value = "envoy")]
    envoy: PathBuf,
    /// The vault whose policies are enforced; needed only where the files name several.
    #[arg(long, value_name = "NAMESPACE/SERVICE")]
    vault: Option<VaultId>,
    /// File that the access log is appended to.
    #[arg(long, value_name = "PATH", default_value = "/dev/stdout")]
    access_log: PathBuf,
    /// Folder for sockets and Envoy's bootstrap, this user's own. A run in the same folder finds the Envoy that an earlier
    /// run left enforcing.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
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
            limits: self.limits.into(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(standalone::run(options))?;
        Ok(Answer::Yes)
    }
}

/// A folder of this user's, apart for each data endpoint.
fn default_state(port: u16) -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder).join(format!("vaultwall-{port}")),
        None => std::env::temp_dir().join(format!("vaultwall-{user}-{port}")),
    }
}

/// `HOST:PORT`.
pub(super) fn upstream(text: &str) -> Result<Upstream, String> {
    let wanted = "write HOST:PORT, for example 127.0.0.1:8200";
    let (host, port) = text.rsplit_once(':').ok_or(wanted)?;
    if host.contains(':') {
        return Err(format!("{wanted}; only IPv4 is supported"));
    }
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if host.len() > 253 || !name.split('.').all(is_label) {
        return Err(format!(
            "{wanted}; the host is neither a DNS name nor an IPv4 address"
        ));
    }
    if name.rsplit('.').next().is_some_and(is_number) && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{wanted}; the host is not an IPv4 address"));
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok(Upstream {
            host: host.into(),
            port,
        }),
        _ => Err(format!("{wanted}; the port is a number from 1 to 65535")),
    }
}

/// Where an endpoint listens.
fn listen(text: &str) -> Result<SocketAddrV4, String> {
    match text.parse::<SocketAddrV4>() {
        Ok(address) if address.port() > 0 => Ok(address),
        _ => Err("write an IPv4 address and a port, for example 127.0.0.1:8300".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // a table
    fn upstreams_and_listeners() {
        let long = format!("{}:8200", "a".repeat(64));
        for (text, good) in [
            ("127.0.0.1:8200", true), ("openbao:8200", true), ("openbao.vault.svc.:1", true), ("a-b_c.d:65535", true),
            ("", false), (":8200", false), ("openbao", false), ("openbao:", false), ("openbao:0", false),
            ("openbao:65536", false), ("openbao:+1x", false), ("open bao:8200", false), ("a..b:8200", false),
            ("[::1]:8200", false), ("::1:8200", false), ("999.1.1.1:8200", false), ("1.2.3:8200", false),
            ("http://openbao:8200", false), ("openbao/x:8200", false), (&long, false),
        ] {
            assert_eq!(upstream(text).is_ok(), good, "{text}");
        }
        for (text, good) in [
            ("127.0.0.1:8300", true), ("0.0.0.0:1", true),
            ("127.0.0.1:0", false), ("127.0.0.1", false), ("[::1]:8300", false), ("localhost:8300", false), (":8300", false),
        ] {
            assert_eq!(listen(text).is_ok(), good, "{text}");
        }
    }
}
