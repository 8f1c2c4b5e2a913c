//! Callers and requests of the demo, read from the two tables in this folder. Sends nothing.

use std::net::Ipv4Addr;

use crate::fallible::Fallible;

/// Sender of requests.
#[derive(Clone, Debug)]
pub struct Caller {
    pub name: &'static str,
    /// Source address of its connections.
    pub address: Ipv4Addr,
    /// Value of the header `X-Forwarded-For` that it sends.
    pub forwarded_for: Option<&'static str>,
    /// `NAMESPACE/NAME` of the pod that has the address.
    pub pod: Option<&'static str>,
    /// Description for people.
    pub description: &'static str,
}

/// A request, and the expected response.
#[derive(Clone, Debug)]
pub struct Case {
    pub caller: Caller,
    pub endpoint: Endpoint,
    pub method: &'static str,
    /// Path below `/v1/`, with the query.
    pub path: &'static str,
    /// Value of the header `X-Vault-Namespace`.
    pub namespace: Option<&'static str>,
    pub token: bool,
    pub body: Option<&'static str>,
    pub expected: Answer,
}

/// One of the two listeners of the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Data,
    Management,
}

/// Response to a request, received or expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `pass N`: the vault answered N; `deny N`: Vaultwall did.
    pub verdict: String,
    /// Reason, and the rule if a rule decided.
    pub why: String,
}

impl Case {
    /// The request as the demo's table shows it.
    pub fn shown(&self) -> String {
        let namespace = self.namespace.map(|name| format!(" ns={name}"));
        let token = if self.token { "" } else { " no-token" };
        format!(
            "{} {}{}{token}",
            self.method,
            self.path,
            namespace.unwrap_or_default()
        )
    }
}

impl Endpoint {
    /// Name in the access log and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Management => "management",
        }
    }
}

/// All callers, in the order of the table.
pub fn callers() -> Fallible<Vec<Caller>> {
    rows("callers.txt", include_str!("callers.txt"))
        .map(|(place, row)| {
            let [name, address, forwarded_for, pod, description] = cells(row, &place)?;
            let optional = |cell| (cell != "-").then_some(cell);
            Ok(Caller {
                name,
                address: address.parse().map_err(|e| format!("{place}: {e}"))?,
                forwarded_for: optional(forwarded_for),
                pod: optional(pod),
                description,
            })
        })
        .collect()
}

/// The caller of this name in the table.
pub fn caller_named(callers: &[Caller], name: &str) -> Fallible<Caller> {
    let found = callers.iter().find(|caller| caller.name == name);
    Ok(found
        .ok_or_else(|| format!("{name} is not in callers.txt"))?
        .clone())
}

/// All requests, in the order of the table.
pub fn cases(callers: &[Caller]) -> Fallible<Vec<Case>> {
    rows("requests.txt", include_str!("requests.txt"))
        .map(|(place, row)| {
            let [who, endpoint, request, verdict, why] = cells(row, &place)?;
            let caller = callers.iter().find(|caller| caller.name == who);
            let (line, body) = match request.split_once(" {") {
                Some((line, _)) => (line, request.get(line.len() + 1..)),
                None => (request, None),
            };
            let mut words = line.split_ascii_whitespace();
            let (Some(method), Some(path)) = (words.next(), words.next()) else {
                return Err(format!("{place}: a request is METHOD PATH").into());
            };
            let more: Vec<&str> = words.collect();
            Ok(Case {
                caller: caller
                    .ok_or_else(|| format!("{place}: {who} is not in callers.txt"))?
                    .clone(),
                endpoint: match endpoint {
                    "data" => Endpoint::Data,
                    "management" => Endpoint::Management,
                    other => return Err(format!("{place}: no endpoint is called {other}").into()),
                },
                method,
                path,
                namespace: more.iter().find_map(|word| word.strip_prefix("ns=")),
                token: !more.contains(&"no-token"),
                body,
                expected: Answer {
                    verdict: verdict.into(),
                    why: why.into(),
                },
            })
        })
        .collect()
}

/// The lines of a table that are neither empty nor comments, each with its file and line number.
fn rows(file: &str, table: &'static str) -> impl Iterator<Item = (String, &'static str)> {
    table
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(move |(number, line)| (format!("dev/demo/{file}:{}", number + 1), line))
}

fn cells<const N: usize>(row: &'static str, place: &str) -> Fallible<[&'static str; N]> {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    cells
        .try_into()
        .map_err(|_| format!("{place}: {N} columns are needed").into())
}
