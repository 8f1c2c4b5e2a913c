//! A real `OpenBao`: its development server, which keeps everything in memory.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;

use crate::client::{Client, SECRET, TOKEN};
use crate::process::Process;
use crate::tools::tool;

/// A running server. It ends when it is dropped.
pub struct OpenBao {
    process: Process,
    address: SocketAddrV4,
}

impl OpenBao {
    /// Starts a server with a home folder, and waits until it holds the secret at [`SECRET`].
    pub fn start(address: SocketAddrV4, home: &Path) -> Self {
        Self::start_with(address, home, &[])
    }

    /// Starts a server with further arguments, and waits until it holds the secret.
    pub fn start_with(address: SocketAddrV4, home: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(tool("bao"));
        command
            .args(["server", "-dev", "-dev-no-store-token"])
            .args(arguments)
            .arg(format!("-dev-root-token-id={TOKEN}"))
            .arg(format!("-dev-listen-address={address}"))
            .env("HOME", home);
        let mut server = Self {
            process: Process::start("openbao", command, home),
            address,
        };
        server.process.wait_until_ready(|| {
            let body = r#"{"data": {"password": "correct horse"}}"#;
            let mut direct = Client::new(Ipv4Addr::LOCALHOST, address);
            match direct.send("POST", SECRET, body) {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.to_string()),
                Err(error) => Err(error.to_string()),
            }
        });
        server
    }

    /// Returns the address of its HTTP API.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }
}
