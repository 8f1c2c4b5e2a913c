//! The Unix socket on which a local Envoy receives its configuration. Only this user can open it, so there is no TLS.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::server::UdsConnectInfo;

use super::grpc::{self, ServeError};
use crate::xds::{self, SnapshotStore};

/// Creates a Unix socket that only this user may open. Replaces a socket that a dead process left behind, but not one
/// on which a process accepts connections. Must be called within a tokio runtime.
///
/// # Errors
/// The path is in use, is not a socket, or the system refuses it.
pub fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Bind {
        path: path.to_owned(),
        source,
    };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = std::fs::symlink_metadata(path)
                .map_err(failed)?
                .file_type()
                .is_socket();
            if !is_socket {
                return Err(ServeError::NotASocket {
                    path: path.to_owned(),
                });
            }
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(failed(error)),
                Ok(_) => {
                    return Err(ServeError::InUse {
                        path: path.to_owned(),
                    });
                }
            }
            std::fs::remove_file(path).map_err(failed)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
    .map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves delta ADS on a Unix socket until `stop` completes.
///
/// # Errors
/// The gRPC transport failed.
pub async fn serve_unix(
    listener: UnixListener,
    store: Arc<SnapshotStore>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (stopping, stopped) = watch::channel(false);
    let services = Routes::new(xds::service::<UdsConnectInfo>(store, stopped.clone()));
    let stop = async move {
        stop.await;
        stopping.send_replace(true);
        pending::<Infallible>().await
    };
    tokio::select! {
        served = grpc::serve(UnixListenerStream::new(listener), services, stopped) => served,
        never = stop => match never {},
    }
}

/// A process that can open the socket runs as this user: it may ask for any node, for as long as it is connected.
impl xds::Peer for UdsConnectInfo {
    fn check_node(&self, _node: &str) -> Result<(), Status> {
        Ok(())
    }

    fn check_credentials(&self) -> Result<(), Status> {
        Ok(())
    }

    async fn wait_invalid(&mut self) -> Status {
        pending().await
    }

    fn close(&self) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("xds.sock");
        let listener = bind_unix(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(bind_unix(&path), Err(ServeError::InUse { .. })));
        drop(listener);
        assert!(path.exists(), "a dead process leaves its socket");
        drop(bind_unix(&path).unwrap());

        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert!(matches!(
            bind_unix(&file),
            Err(ServeError::NotASocket { .. })
        ));
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
        let nowhere = bind_unix(&folder.path().join("no/folder/xds.sock"))
            .unwrap_err()
            .to_string();
        assert!(nowhere.contains("the folder must exist"), "{nowhere}");
    }
}
