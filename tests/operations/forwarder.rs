//! The way to the API server, which can be blocked: nothing is refused and nothing arrives.

use std::net::SocketAddr;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use testkit::ApiServer;
use testkit::own_address;

/// Forwards connections to an API server, unless it is blocked.
pub struct Forwarder {
    blocked: watch::Sender<bool>,
    address: SocketAddr,
}

impl Forwarder {
    pub async fn start(server: &ApiServer) -> Self {
        let target: SocketAddr = server
            .url()
            .strip_prefix("https://")
            .unwrap()
            .parse()
            .unwrap();
        let address = SocketAddr::from((own_address(), target.port()));
        let listener = TcpListener::bind(address).await.unwrap();
        let (blocked, is_blocked) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(target).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(forward(from_client, to_server, is_blocked.clone()));
                tokio::spawn(forward(from_server, to_client, is_blocked.clone()));
            }
        });
        Self { blocked, address }
    }

    /// Nothing passes from now on, until it is opened; then what waited does.
    pub fn block(&self) {
        self.blocked.send_replace(true);
    }

    pub fn open(&self) {
        self.blocked.send_replace(false);
    }

    /// A client that goes this way.
    pub async fn client(&self, server: &ApiServer) -> Client {
        let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .unwrap();
        let host = config.cluster_url.host().unwrap().to_owned();
        config.tls_server_name = Some(host);
        config.cluster_url = format!("https://{}", self.address).parse().unwrap();
        Client::try_from(config).unwrap()
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut blocked: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if blocked.wait_for(|blocked| !*blocked).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
