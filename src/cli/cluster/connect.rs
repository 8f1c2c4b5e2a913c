//! Connects to the API server, for subcommands and for the operator. One request that needs no permission finds errors
//! before anything else depends on the connection.

use std::time::Duration;

use kube::{Client, Config};

use super::error::ConnectError;
use super::kubeconfig::{ClusterArgs, Environment, config};
use super::server::{CONNECT_TIMEOUT, Server};

/// Timeout for the next bytes of an answer; then the connection is closed. Callers may use a shorter timeout of their
/// own. An API server ends a watch without events after 290 s, and kube gives it up 5 s later.
const READ_TIMEOUT: Duration = Duration::from_mins(5);

/// Connects with the settings of the arguments and of the process's environment.
///
/// # Errors
/// There is no usable kubeconfig, the API server does not answer within 5 s, or it refuses the credentials.
pub(crate) async fn connect(args: &ClusterArgs) -> Result<Client, ConnectError> {
    Ok(connect_and_name(args).await?.0)
}

/// Connects, and also returns the API server's name for messages.
pub(super) async fn connect_and_name(args: &ClusterArgs) -> Result<(Client, Server), ConnectError> {
    let (config, source) = config(args, &Environment::of_process()).await?;
    let url = config.cluster_url.to_string();
    let server = Server {
        url: url.trim_end_matches('/').to_owned(),
        source,
    };
    Ok((
        connect_within(config, &server, CONNECT_TIMEOUT, READ_TIMEOUT).await?,
        server,
    ))
}

async fn connect_within(
    mut config: Config,
    server: &Server,
    wait: Duration,
    read_timeout: Duration,
) -> Result<Client, ConnectError> {
    install_crypto_provider();
    config.connect_timeout = Some(wait);
    // Without it, a list or a write would wait for ever for a machine that has failed.
    config.read_timeout = Some(read_timeout);
    // The timeout starts again with each request on a kept-alive connection.
    config.reset_reader_on_write = true;
    let agent = concat!("vaultwall/", env!("CARGO_PKG_VERSION"));
    if let (Ok(name), Ok(value)) = ("user-agent".parse(), agent.parse()) {
        config.headers.push((name, value));
    }
    let client = Client::try_from(config).map_err(|error| match error {
        kube::Error::Auth(error) => ConnectError::NoCredentials {
            server: server.clone(),
            message: error.to_string(),
        },
        kube::Error::ProxyProtocolDisabled { proxy_url, .. }
        | kube::Error::ProxyProtocolUnsupported { proxy_url } => ConnectError::Proxy {
            server: server.clone(),
            proxy: proxy_url.host().unwrap_or_default().to_owned(),
        },
        error => ConnectError::Unusable {
            server: server.clone(),
            message: error.to_string(),
        },
    })?;
    let asked = tokio::time::timeout(wait, client.apiserver_version()).await;
    match asked {
        Err(_) => Err(ConnectError::Slow {
            server: server.clone(),
            waited: wait,
        }),
        Ok(Ok(version)) => {
            tracing::debug!("{server} runs Kubernetes {}", version.git_version);
            Ok(client)
        }
        // Some clusters restrict who may read the version. Later requests find out their own permissions.
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Ok(client),
        Ok(Err(error)) => Err(ConnectError::of_request(server, &error)),
    }
}

/// Installs ring as the process's crypto provider, unless another part of the process did it already.
fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use std::sync::Arc;

    use rustls::pki_types::PrivatePkcs8KeyDer;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::cli::cluster::server::Source;

    /// A server in place of an API server.
    #[derive(Clone, Copy)]
    enum Listener {
        Nothing,
        Silent,
        /// Answers with a status line and a body.
        Answers((&'static str, &'static str)),
        Tls,
    }

    /// A listener's address; it serves until the test ends.
    async fn listen(listener: Listener) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        if matches!(listener, Listener::Nothing) {
            return address;
        }
        install_crypto_provider();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key.into())
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                match listener {
                    Listener::Nothing => {}
                    Listener::Silent => open.push(stream),
                    Listener::Answers(answer) => answer_with(stream, answer).await,
                    Listener::Tls => drop(tls.accept(stream).await),
                }
            }
        });
        address
    }

    async fn answer_with(mut stream: TcpStream, (status, body): (&str, &str)) {
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..read]).into_owned();
        assert!(
            request.contains(concat!("user-agent: vaultwall/", env!("CARGO_PKG_VERSION")))
                || !request.starts_with("GET "),
            "{request}"
        );
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    #[rustfmt::skip] // a table
    async fn errors_describe_a_server_that_is_no_api_server() {
        const REFUSES: (&str, &str) = ("401 Unauthorized", r#"{"kind":"Status","message":"Unauthorized","code":401}"#);
        const FORBIDS: (&str, &str) = ("403 Forbidden", r#"{"kind":"Status","message":"no","code":403}"#);
        const WEB: (&str, &str) = ("200 OK", "hello");
        for (scheme, listener, wanted) in [
            ("https", Listener::Nothing, "cannot be reached: Connection refused"),
            ("https", Listener::Answers(WEB), "it does not use TLS"),
            ("https", Listener::Tls, "it was not issued by a certificate authority that the kubeconfig names"),
            ("http", Listener::Answers(WEB), "does not answer like a Kubernetes API server"),
            ("http", Listener::Answers(REFUSES), "refuses the credentials of the kubeconfig (401 Unauthorized)"),
            ("http", Listener::Answers(FORBIDS), "connected"),
        ] {
            let address = listen(listener).await;
            let server = server_of(scheme, &address);
            let mut config = Config::new(server.url.parse().unwrap());
            // A certificate authority, but not the server's.
            let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
            config.root_cert = Some(vec![other.cert.der().to_vec()]);
            let result = connect_within(config, &server, CONNECT_TIMEOUT, READ_TIMEOUT).await;
            let message = result.map_or_else(|error| error.to_string(), |_| "connected".into());
            assert!(message.contains(wanted), "{message}\ndoes not contain: {wanted}");
            assert!(message == "connected" || message.contains(&server.url), "{message}");
        }
    }

    fn server_of(scheme: &str, address: &str) -> Server {
        Server {
            url: format!("{scheme}://{address}"),
            source: Source::Files(vec!["config".into()]),
        }
    }

    #[tokio::test]
    async fn a_request_that_is_never_answered_times_out() {
        // The server answers the version request, and nothing after it.
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = server_of("http", &socket.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            let (first, _) = socket.accept().await.unwrap();
            let version = json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "",
                "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
            answer_with(first, ("200 OK", &version.to_string())).await;
            let mut open = Vec::new();
            loop {
                open.push(socket.accept().await.unwrap());
            }
        });
        let config = Config::new(server.url.parse().unwrap());
        let read_timeout = Duration::from_millis(200);
        let client = connect_within(config, &server, CONNECT_TIMEOUT, read_timeout)
            .await
            .unwrap();
        let answer = tokio::time::timeout(CONNECT_TIMEOUT, client.apiserver_version()).await;
        answer.expect("the read timeout ends it").unwrap_err();
    }

    #[test]
    fn the_read_timeout_is_longer_than_a_watch() {
        let watch = kube::runtime::watcher::Config::default().timeout;
        assert_eq!(watch, None, "kube's default: 290 s, and 5 s more");
        assert!(READ_TIMEOUT > Duration::from_secs(295));
    }

    #[test]
    fn in_a_pod_no_message_mentions_a_kubeconfig() {
        let server = || Server {
            url: "https://10.96.0.1".to_owned(),
            source: Source::ServiceAccount,
        };
        let message = || "cause".to_owned();
        for error in [
            ConnectError::Unusable {
                server: server(),
                message: message(),
            },
            ConnectError::NoCredentials {
                server: server(),
                message: message(),
            },
            ConnectError::Unreachable {
                server: server(),
                message: message(),
            },
            ConnectError::Slow {
                server: server(),
                waited: CONNECT_TIMEOUT,
            },
            ConnectError::Untrusted {
                server: server(),
                message: message(),
            },
            ConnectError::Unauthorized {
                server: server(),
                message: message(),
            },
            ConnectError::NotKubernetes {
                server: server(),
                message: message(),
            },
        ] {
            let message = error.to_string();
            assert!(
                !message.contains("kubeconfig") && !message.contains("log in"),
                "{message}"
            );
            assert!(message.contains("pod"), "{message}");
        }
    }

    #[tokio::test]
    async fn a_server_that_sends_nothing_times_out() {
        let address = listen(Listener::Silent).await;
        for scheme in ["http", "https"] {
            let server = server_of(scheme, &address);
            let mut config = Config::new(server.url.parse().unwrap());
            config.root_cert = Some(Vec::new());
            let wait = Duration::from_millis(50);
            let error = connect_within(config, &server, wait, READ_TIMEOUT).await;
            let error = error.err().unwrap().to_string();
            assert!(error.contains("did not answer within"), "{error}");
        }
    }
}
