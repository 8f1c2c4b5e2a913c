//! The program `enforcer`; the library describes it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tracing_subscriber::EnvFilter;

use enforcer::agent;
use enforcer::nft::Nft;

/// Kernel setting that passes packets between ports of a bridge to the rules.
const BRIDGE: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// The command line.
#[derive(Parser)]
#[command(
    name = "enforcer",
    about = "Enforces NetworkPolicies on this node by one nftables table"
)]
struct Arguments {
    /// Kubeconfig of a user who may list and watch networkpolicies, pods and namespaces
    #[arg(long, value_name = "PATH")]
    kubeconfig: PathBuf,
    /// The table of family `ip` that is kept; no other program may write to it
    #[arg(long, value_name = "NAME", default_value = "vaultwall_dev", value_parser = table_name)]
    table: String,
    /// Path of the program nft
    #[arg(long, value_name = "PATH", default_value = "nft")]
    nft: PathBuf,
}

fn table_name(name: &str) -> Result<String, &'static str> {
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if name.is_empty() || !letters {
        return Err("write a table name of lower-case letters and underscores");
    }
    Ok(name.to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = match prepare(arguments).await {
        Ok((client, nft)) => agent::run(client, nft).await,
        Err(error) => error,
    };
    eprintln!("enforcer: {error}");
    ExitCode::from(2)
}

/// Checks everything that can be checked before a change is made.
async fn prepare(arguments: Arguments) -> Result<(Client, Nft), String> {
    let file = arguments.kubeconfig.display();
    let of_file = |error: &dyn std::error::Error| {
        format!("{file} cannot be used: {error}: give the cluster's kubeconfig with --kubeconfig")
    };
    let kubeconfig =
        Kubeconfig::read_from(&arguments.kubeconfig).map_err(|error| of_file(&error))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| of_file(&error))?;
    let client = Client::try_from(config).map_err(|error| of_file(&error))?;
    match std::fs::read_to_string(BRIDGE) {
        Ok(value) if value.trim() == "1" => {}
        Ok(value) => {
            return Err(format!(
                "{BRIDGE} is {}: pods on one bridge would bypass the rules: set it to 1",
                value.trim()
            ));
        }
        Err(error) => {
            return Err(format!(
                "{BRIDGE} cannot be read: {error}: pods on one bridge would bypass the rules: load br_netfilter"
            ));
        }
    }
    let nft = Nft::new(arguments.nft, arguments.table);
    nft.check().await?;
    Ok((client, nft))
}
