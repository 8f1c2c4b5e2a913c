//! Requests of a service, as `vault-secrets-operator.txt` and its neighbours have them.

/// A recorded request.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Operation, plane, or `unknown`.
    pub(crate) needs: &'static str,
    /// Status of the vault's answer.
    pub(crate) status: u16,
    pub(crate) method: &'static str,
    /// Path and query, without `/v1/`.
    pub(crate) path: &'static str,
    /// Namespace in the vault.
    pub(crate) namespace: Option<&'static str>,
    pub(crate) body: String,
}

impl Recorded {
    pub(crate) fn parse(text: &'static str) -> Vec<Self> {
        let mut requests: Vec<Self> = Vec::new();
        let lines = text.lines();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with(' ') {
                requests.last_mut().unwrap().body.push_str(line.trim());
                continue;
            }
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
            requests.push(Self {
                needs: word(),
                status: word().parse().unwrap(),
                method: word(),
                path: word(),
                namespace: words.next(),
                body: String::new(),
            });
        }
        requests
    }

    /// Whether it is sent without a token of the vault, as the service does.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.needs == "infrastructure" || self.path.ends_with("/login")
    }
}
