//! The connection to the API server, for subcommands and for the operator. It asks one question that everybody may ask,
//! so that what is wrong is known before anything rests on it.

use std::time::Duration;

use kube::{Client, Config};

use super::ConnectError;
use super::error::Server;
use super::kubeconfig::{ClusterArgs, Surroundings, config};

/// Longest wait for a connection, and for the answer to the first question.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// Longest silence of an API server that has still to answer; then the connection is given up. Whoever wants an answer sooner
/// waits less. A watch is silent for 290 s at most, as kube has it, and is given up by itself 5 s later.
const SILENCE: Duration = Duration::from_mins(5);

/// Connects, as the arguments and the process's surroundings say.
///
/// # Errors
/// There is no usable kubeconfig, the API server does not answer within seconds, or it refuses the credentials.
pub(crate) async fn connect(args: &ClusterArgs) -> Result<Client, ConnectError> {
    Ok(connect_and_name(args).await?.0)
}

/// Connects, and names the API server.
pub(super) async fn connect_and_name(args: &ClusterArgs) -> Result<(Client, Server), ConnectError> {
    let (config, source) = config(args, &Surroundings::of_process()).await?;
    let url = config.cluster_url.to_string();
    let server = Server {
        url: url.trim_end_matches('/').to_owned(),
        source,
    };
    Ok((
        connect_within(config, &server, WAIT, SILENCE).await?,
        server,
    ))
}

async fn connect_within(
    mut config: Config,
    server: &Server,
    wait: Duration,
    silence: Duration,
) -> Result<Client, ConnectError> {
    install_crypto();
    config.connect_timeout = Some(wait);
    // Without it, a list or a write would wait for ever for a machine that is gone.
    config.read_timeout = Some(silence);
    // A connection that was kept for later has the whole time again.
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
        // Some clusters tell their version to few. What may be asked, the questions themselves find out.
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Ok(client),
        Ok(Err(error)) => Err(ConnectError::of_request(server, &error)),
    }
}

/// Makes ring the process's cryptography, once. That another part of the process did it already is as good.
fn install_crypto() {
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
    use crate::cli::cluster::kubeconfig::Source;

    /// What listens in place of an API server.
    #[derive(Clone, Copy)]
    enum Listener {
        Nothing,
        Silent,
        /// A status and a body.
        Says((&'static str, &'static str)),
        Tls,
    }

    /// A listener's address; it serves until the test ends.
    async fn listen(listener: Listener) -> String {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        if matches!(listener, Listener::Nothing) {
            return address;
        }
        install_crypto();
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
                    Listener::Says(answer) => answer_with(stream, answer).await,
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
    async fn what_is_said_of_a_server_that_is_none() {
        const REFUSES: (&str, &str) = ("401 Unauthorized", "{\"kind\":\"Status\",\"message\":\"Unauthorized\",\"code\":401}");
        const FORBIDS: (&str, &str) = ("403 Forbidden", "{\"kind\":\"Status\",\"message\":\"no\",\"code\":403}");
        const WEB: (&str, &str) = ("200 OK", "hello");
        for (scheme, listener, wanted) in [
            ("https", Listener::Nothing, "cannot be reached: Connection refused"),
            ("https", Listener::Says(WEB), "it does not speak TLS"),
            ("https", Listener::Tls, "is not trusted: it was not issued by a certificate authority that the kubeconfig names"),
            ("http", Listener::Says(WEB), "does not answer as a Kubernetes API server does"),
            ("http", Listener::Says(REFUSES), "refuses the credentials of the kubeconfig (401 Unauthorized)"),
            ("http", Listener::Says(FORBIDS), "connected"),
        ] {
            let address = listen(listener).await;
            let server = server_of(scheme, &address);
            let mut config = Config::new(server.url.parse().unwrap());
            // A certificate authority, but not the server's.
            let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
            config.root_cert = Some(vec![other.cert.der().to_vec()]);
            let said = connect_within(config, &server, WAIT, SILENCE).await.map_or_else(|error| error.to_string(), |_| "connected".into());
            assert!(said.contains(wanted), "{said}\nis not: {wanted}");
            assert!(said == "connected" || said.contains(&server.url), "{said}");
        }
    }

    fn server_of(scheme: &str, address: &str) -> Server {
        Server {
            url: format!("{scheme}://{address}"),
            source: Source::Files(vec!["config".into()]),
        }
    }

    #[tokio::test]
    async fn a_request_that_is_never_answered_is_given_up() {
        // It says its version, and nothing after that.
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = server_of("http", &socket.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            let (first, _) = socket.accept().await.unwrap();
            let version = json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
            answer_with(first, ("200 OK", &version.to_string())).await;
            let mut open = Vec::new();
            loop {
                open.push(socket.accept().await.unwrap());
            }
        });
        let config = Config::new(server.url.parse().unwrap());
        let silence = Duration::from_millis(200);
        let client = connect_within(config, &server, WAIT, silence)
            .await
            .unwrap();
        let answer = tokio::time::timeout(WAIT, client.apiserver_version()).await;
        answer.expect("it is given up").unwrap_err();
    }

    #[test]
    fn a_watch_may_be_silent_for_as_long_as_it_lasts() {
        let watch = kube::runtime::watcher::Config::default().timeout;
        assert_eq!(watch, None, "kube's own: 290 s, and 5 s more");
        assert!(SILENCE > Duration::from_secs(295));
    }

    #[test]
    fn in_a_pod_nobody_is_sent_to_a_kubeconfig() {
        let server = || Server {
            url: "https://10.96.0.1".to_owned(),
            source: Source::ServiceAccount,
        };
        let message = || "so".to_owned();
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
                waited: WAIT,
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
            let said = error.to_string();
            assert!(
                !said.contains("kubeconfig") && !said.contains("log in"),
                "{said}"
            );
            assert!(said.contains("pod"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let address = listen(Listener::Silent).await;
        for scheme in ["http", "https"] {
            let server = server_of(scheme, &address);
            let mut config = Config::new(server.url.parse().unwrap());
            config.root_cert = Some(Vec::new());
            let wait = Duration::from_millis(50);
            let error = connect_within(config, &server, wait, SILENCE).await;
            let error = error.err().unwrap().to_string();
            assert!(error.contains("did not answer within"), "{error}");
        }
    }
}
