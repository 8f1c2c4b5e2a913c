//! Stands where the vault stands: answers everything, and remembers what arrived.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::differential::wire::MARK;

/// A request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// First line.
    pub line: Vec<u8>,
    /// Headers: lower-case name, value.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Arrived {
    /// Values of a header.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let lines = self.headers.iter().filter(|(line, _)| line == name);
        lines.map(|(_, value)| value.as_slice()).collect()
    }
}

/// Requests by their mark.
type Seen = Arc<Mutex<HashMap<String, Vec<Arrived>>>>;

/// The recording hop.
pub struct Hop {
    /// Where it listens.
    pub address: SocketAddrV4,
    seen: Seen,
}

impl Hop {
    /// Starts one; it ends with the runtime.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!()
        };
        let seen = Seen::default();
        let record = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, record.clone()));
            }
        });
        Self { address, seen }
    }

    /// Everything that arrived, by mark.
    pub fn arrived(&self) -> HashMap<String, Vec<Arrived>> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Seen) {
    let mut pending = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = pending.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            match stream.read_buf(&mut pending).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        // Bodies are not read: the tests send none.
        let head: Vec<u8> = pending.drain(..end + 4).collect();
        let arrived = parse(&head);
        let mark = arrived
            .values(MARK)
            .first()
            .map(|mark| String::from_utf8_lossy(mark).into_owned());
        seen.lock()
            .unwrap()
            .entry(mark.unwrap_or_default())
            .or_default()
            .push(arrived);
        if stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-hop: yes\r\n\r\n")
            .await
            .is_err()
        {
            return;
        }
    }
}

fn parse(head: &[u8]) -> Arrived {
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    let line = lines.next().unwrap_or_default().to_vec();
    let headers = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        Some((
            String::from_utf8_lossy(name).to_lowercase(),
            value[1..].trim_ascii().to_vec(),
        ))
    });
    Arrived {
        line,
        headers: headers.collect(),
    }
}
