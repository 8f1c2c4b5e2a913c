//! A real `OpenBao`: its development server, in memory, with one secret.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::client::{Client, SECRET, TOKEN};
use crate::sandbox::soon;
use crate::tool::tool;

pub(crate) struct Vault(Child);

impl Vault {
    /// Starts it, and waits until it holds the secret.
    pub(crate) fn start(address: SocketAddrV4, home: &Path) -> Self {
        let process = Command::new(tool("bao"))
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={TOKEN}"))
            .arg(format!("-dev-listen-address={address}"))
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let vault = Self(process);
        soon("`OpenBao` holds the secret", || {
            let mut direct = Client::new(Ipv4Addr::LOCALHOST, address);
            let body = r#"{"data": {"password": "correct horse"}}"#;
            let answer = direct.send("POST", SECRET, body).ok()?;
            (answer.status == 200).then_some(())
        });
        vault
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
