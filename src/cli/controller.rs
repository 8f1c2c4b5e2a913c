//! `vaultwall controller`: runs the operator.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::addresses::upstream;
use super::arguments::{KeyArgs, LimitArgs};
use super::cluster::{ClusterArgs, connect};
use super::outcome::{Answer, Failure, Outcome};
use super::output::Output;
use super::process;
use crate::clock::Clock;
use crate::compile::envoy::Upstream;
use crate::compile::kubernetes::proxies;
use crate::controller::{self, LocalProxy, Options};
use crate::policy::{VaultId, VaultIdError};
use crate::runtime::leader::Timing;

/// Run the operator, which protects the vaults of a cluster according to its `VaultNetworkPolicy` objects.
///
/// It runs in a pod with its service account, or anywhere with a kubeconfig. Its log goes to stderr.
#[derive(clap::Args, Debug)]
pub(super) struct Controller {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace of the operator, for its Lease and its certificate authority.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "POD_NAMESPACE",
        default_value = "vaultwall-system"
    )]
    own_namespace: String,
    /// Name of this replica, unique in the namespace.
    #[arg(
        long,
        value_name = "NAME",
        env = "POD_NAME",
        default_value = "vaultwall"
    )]
    name: String,
    /// Address on which proxies and other replicas connect.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8500")]
    xds_listen: SocketAddr,
    /// Address at which proxies find the operator; default: the Service `vaultwall` in the operator's namespace.
    #[arg(long, value_name = "HOST:PORT", value_parser = upstream)]
    xds_address: Option<Upstream>,
    /// Address of this replica alone, for other replicas; default: the pod's address with the port of `--xds-listen`.
    #[arg(long, value_name = "HOST:PORT", env = "VAULTWALL_ADVERTISE", value_parser = upstream)]
    advertise: Option<Upstream>,
    /// IP address of this replica's pod.
    #[arg(long, value_name = "IP", env = "POD_IP")]
    pod_ip: Option<IpAddr>,
    /// Address for health and metrics.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    operations_listen: SocketAddr,
    /// Envoy image of the proxies; with a digest (`NAME:TAG@sha256:…`), the registry cannot replace it.
    #[arg(
        long,
        value_name = "IMAGE",
        default_value = proxies::ENVOY_IMAGE
    )]
    proxy_image: String,
    /// For a trial with an Envoy on the same machine: the address on which it listens, and the vault's own address if
    /// Envoy cannot reach the vault's pods; may be repeated.
    #[arg(long, value_name = "NAMESPACE/SERVICE=IP[,HOST:PORT]", value_parser = local_proxy)]
    local_proxy: Vec<(VaultId, LocalProxy)>,
    /// Let trusted services of vaults with `denial: Drop` in by the label of service accounts on their pods; needs the
    /// chart's value serviceAccountLabel.create, or its admission policies and permissions.
    #[arg(long)]
    service_account_label: bool,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Controller {
    pub(super) fn run(self, _output: &mut Output) -> Outcome {
        process::runtime()?.block_on(async {
            let stop = process::stop()?;
            let options = self.options().await?;
            controller::run(options, stop).await?;
            Ok(Answer::Yes)
        })
    }

    async fn options(self) -> Result<Options, Failure> {
        let client = connect(&self.cluster).await?;
        if !has_digest(&self.proxy_image) {
            tracing::warn!(
                "the proxies' image {} has no digest, so its registry determines which program receives the requests \
                 to the vaults, with their tokens; set proxy.digest in the values of the chart, or give --proxy-image \
                 with a digest",
                self.proxy_image
            );
        }
        let advertised = self.advertised();
        let xds_address = self.xds_address.unwrap_or_else(|| Upstream {
            host: format!("vaultwall.{}.svc", self.own_namespace),
            port: self.xds_listen.port(),
        });
        let advertise = advertised.unwrap_or_else(|| {
            let Upstream { host, port } = &xds_address;
            tracing::warn!(
                "other replicas will connect to this one at {host}:{port}, which may be the address of any replica; \
                 with several replicas, set POD_IP to the pod's address (status.podIP) or give --advertise, \
                 or status misses proxies"
            );
            format!("{host}:{port}")
        });
        Ok(Options {
            client,
            namespace: self.own_namespace,
            name: self.name,
            xds_listen: self.xds_listen,
            xds_address: (xds_address.host, xds_address.port),
            advertise,
            operations_listen: self.operations_listen,
            proxy_image: self.proxy_image,
            limits: self.limits.into(),
            local: self.local_proxy.into_iter().collect::<BTreeMap<_, _>>(),
            lease: Timing::default(),
            account_labels: self.service_account_label,
            keys: self.keys.try_into()?,
            clock: Clock::system(),
        })
    }

    /// Address of this replica alone, if it is known.
    fn advertised(&self) -> Option<String> {
        if let Some(Upstream { host, port }) = &self.advertise {
            return Some(format!("{host}:{port}"));
        }
        let listen = self.xds_listen;
        let own = self.pod_ip.unwrap_or(listen.ip());
        (!own.is_unspecified()).then(|| SocketAddr::new(own, listen.port()).to_string())
    }
}

/// Whether the reference of an image has a digest of its content.
fn has_digest(image: &str) -> bool {
    image.contains("@sha256:")
}

/// Parses `NAMESPACE/SERVICE=IP[,HOST:PORT]`.
fn local_proxy(text: &str) -> Result<(VaultId, LocalProxy), String> {
    let wanted = "write NAMESPACE/SERVICE=IP or NAMESPACE/SERVICE=IP,HOST:PORT, for example \
                  vault/openbao=127.0.0.2,127.0.0.1:8200";
    let (name, rest) = text.split_once('=').ok_or(wanted)?;
    let (listen, upstream) = match rest.split_once(',') {
        Some((listen, vault)) => (listen, Some(self::upstream(vault)?)),
        None => (rest, None),
    };
    let listen = listen.parse().map_err(|_| wanted)?;
    let vault = name
        .parse()
        .map_err(|error: VaultIdError| error.to_string())?;
    Ok((vault, LocalProxy { listen, upstream }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        controller: Controller,
    }

    #[test]
    fn an_image_with_a_digest_is_pinned() {
        assert!(!has_digest(proxies::ENVOY_IMAGE));
        assert!(has_digest(&format!("{}@sha256:00", proxies::ENVOY_IMAGE)));
        assert!(!has_digest("registry.example:5000/envoy:sha256"));
    }

    #[test]
    fn the_advertised_address_is_this_replicas_own() {
        for (arguments, found) in [
            (&[][..], None),
            (&["--xds-listen", "[::]:8500"], None),
            (&["--xds-address", "operator.example:8500"], None),
            (&["--xds-listen", "127.0.0.2:85"], Some("127.0.0.2:85")),
            (&["--pod-ip", "10.0.0.7"], Some("10.0.0.7:8500")),
            (&["--pod-ip", "fd00::7"], Some("[fd00::7]:8500")),
            (
                &["--pod-ip", "10.0.0.7", "--xds-listen", "127.0.0.2:85"],
                Some("10.0.0.7:85"),
            ),
            (
                &["--pod-ip", "10.0.0.7", "--advertise", "here.example:1"],
                Some("here.example:1"),
            ),
        ] {
            let Program { controller } =
                Program::try_parse_from([&["program"], arguments].concat()).unwrap();
            assert_eq!(controller.advertised().as_deref(), found, "{arguments:?}");
        }
    }
}
