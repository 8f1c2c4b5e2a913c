//! Finds the client's configuration: a kubeconfig in the same places as kubectl, or the service account of a pod. It
//! sends nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::error::ConnectError;
use super::proxy;
use super::server::Source;

/// The cluster, with kubectl's own flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file, instead of those in KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of its current context.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// Environment of the process, as far as it names a cluster.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// `KUBECONFIG`: files, separated as in `PATH`.
    pub(super) kubeconfig: Option<OsString>,
    /// The user's home folder.
    pub(super) home: Option<PathBuf>,
    /// Whether the process runs in a pod.
    pub(super) in_pod: bool,
}

impl Environment {
    /// The environment of this process.
    pub(super) fn of_process() -> Self {
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG"),
            home: std::env::home_dir(),
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}

/// The configuration of the client, and its origin.
pub(super) async fn config(
    args: &ClusterArgs,
    environment: &Environment,
) -> Result<(Config, Source), ConnectError> {
    let source = source(args, environment)?;
    let config = match &source {
        Source::Files(files) => from_files(files, args.context.as_deref()).await?,
        Source::ServiceAccount => Config::incluster().map_err(|error| ConnectError::InPod {
            message: error.to_string(),
        })?,
    };
    Ok((config, source))
}

fn source(args: &ClusterArgs, environment: &Environment) -> Result<Source, ConnectError> {
    if let Some(file) = &args.kubeconfig {
        return Ok(Source::Files(vec![file.clone()]));
    }
    let variable = environment.kubeconfig.as_deref().unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(variable)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if !named.is_empty() {
        // Like kubectl: of several files some may be missing.
        let found: Vec<PathBuf> = named.iter().filter(|file| file.exists()).cloned().collect();
        return if found.is_empty() {
            Err(ConnectError::NamedByVariable { files: named })
        } else {
            Ok(Source::Files(found))
        };
    }
    let own = environment
        .home
        .as_ref()
        .map(|home| home.join(".kube/config"));
    match own {
        Some(file) if file.exists() => Ok(Source::Files(vec![file])),
        _ if environment.in_pod && args.context.is_none() => Ok(Source::ServiceAccount),
        own => Err(ConnectError::NoKubeconfig { own }),
    }
}

async fn from_files(files: &[PathBuf], context: Option<&str>) -> Result<Config, ConnectError> {
    let mut merged = Kubeconfig::default();
    for file in files {
        let next = Kubeconfig::read_from(file).map_err(|error| of_file(file, error))?;
        merged = merged.merge(next).map_err(|error| of_file(file, error))?;
    }
    let contexts = || merged.contexts.iter().map(|context| context.name.clone());
    let wanted = context.or(merged.current_context.as_deref());
    let Some(wanted) = wanted.filter(|name| !name.is_empty()) else {
        return Err(ConnectError::NoCurrentContext {
            files: files.to_vec(),
            contexts: contexts().collect(),
        });
    };
    if !contexts().any(|name| name == wanted) {
        return Err(ConnectError::NoSuchContext {
            context: wanted.to_owned(),
            files: files.to_vec(),
            contexts: contexts().collect(),
        });
    }
    let options = KubeConfigOptions {
        context: Some(wanted.to_owned()),
        ..KubeConfigOptions::default()
    };
    let context = wanted.to_owned();
    let names_a_proxy = names_a_proxy(&merged, wanted);
    let mut config = Config::from_custom_kubeconfig(merged, &options)
        .await
        .map_err(|error| ConnectError::Context {
            context,
            files: files.to_vec(),
            message: error.to_string(),
        })?;
    if !names_a_proxy {
        let host = config.cluster_url.host().unwrap_or_default();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let no_proxy = variable("NO_PROXY").or_else(|| variable("no_proxy"));
        if proxy::is_direct(host, port, &no_proxy.unwrap_or_default()) {
            config.proxy_url = None;
        }
    }
    Ok(config)
}

/// Whether the kubeconfig itself names a proxy for the API server; `HTTPS_PROXY` is ignored then.
fn names_a_proxy(kubeconfig: &Kubeconfig, context: &str) -> bool {
    let context = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context);
    let cluster = context.and_then(|named| Some(&named.context.as_ref()?.cluster));
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|named| Some(&named.name) == cluster);
    cluster
        .and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref())
        .is_some_and(|proxy| !proxy.is_empty())
}

fn of_file(file: &Path, error: KubeconfigError) -> ConnectError {
    match error {
        KubeconfigError::ReadConfig(source, file) => ConnectError::Unreadable { file, source },
        error => ConnectError::NoKubeconfigFile {
            file: file.to_owned(),
            // The first line has the error and its position; further lines quote the file.
            message: error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    const GOOD: &str = "
apiVersion: v1
kind: Config
current-context: here
clusters:
- {name: one, cluster: {server: 'https://127.0.0.1:6443', certificate-authority: nowhere.crt}}
- {name: two, cluster: {server: 'https://127.0.0.1:6444'}}
contexts:
- {name: broken, context: {cluster: one, user: me}}
- {name: here, context: {cluster: two, user: me}}
- {name: lost, context: {cluster: three, user: me}}
users:
- {name: me, user: {token: x}}
";

    async fn address_or_error(text: &str, context: Option<&str>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, text).unwrap();
        let args = ClusterArgs {
            kubeconfig: Some(file.clone()),
            context: context.map(str::to_owned),
        };
        match config(&args, &Environment::default()).await {
            Ok((config, _)) => config.cluster_url.to_string(),
            Err(error) => error
                .to_string()
                .replace(&file.display().to_string(), "FILE")
                .replace(&folder.path().display().to_string(), "FOLDER"),
        }
    }

    #[tokio::test]
    #[rustfmt::skip] // a table
    async fn a_kubeconfig_gives_an_address_or_an_error() {
        for (text, context, wanted) in [
            (GOOD, None, "https://127.0.0.1:6444/"),
            (GOOD, Some("here"), "https://127.0.0.1:6444/"),
            (GOOD, Some("elsewhere"), "no context \"elsewhere\" in the kubeconfig FILE; it has: broken, here, lost"),
            (GOOD, Some("broken"), "of the kubeconfig FILE cannot be used: failed to load certificate authority: "),
            (GOOD, Some("lost"), "of the kubeconfig FILE cannot be used: failed to load the cluster of context: three"),
            ("", None, "the kubeconfig FILE has no current-context; choose a context with --context; it has none"),
            ("contexts: [{name: a, context: {cluster: b}}]", None, "choose a context with --context; it has: a"),
            ("contexts: 1", None, "FILE is not a kubeconfig: failed to parse kubeconfig YAML: error: line 1 column 11"),
            ("{", None, "FILE is not a kubeconfig: "),
        ] {
            let found = address_or_error(text, context).await;
            assert_eq!(found.lines().count(), 1, "{found}");
            assert!(found.contains(wanted), "{context:?}: {found}\ndoes not contain: {wanted}");
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_an_error() {
        let args = ClusterArgs {
            kubeconfig: Some("nowhere/config".into()),
            context: None,
        };
        let error = config(&args, &Environment::default()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kubeconfig nowhere/config cannot be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_kubeconfig_is_found_in_the_same_places_as_by_kubectl() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".kube")).unwrap();
        let own = home.path().join(".kube/config");
        let find = |variable: &str, in_pod: bool, context: Option<&str>| {
            let environment = Environment {
                kubeconfig: Some(variable.into()),
                home: Some(home.path().to_owned()),
                in_pod,
            };
            let args = ClusterArgs {
                kubeconfig: None,
                context: context.map(str::to_owned),
            };
            source(&args, &environment)
        };
        assert!(matches!(
            find("", false, None),
            Err(ConnectError::NoKubeconfig { .. })
        ));
        assert_eq!(find("", true, None).unwrap(), Source::ServiceAccount);
        // A service account has no contexts.
        assert!(find("", true, Some("here")).is_err());
        std::fs::write(&own, "").unwrap();
        let files = |files: &[&Path]| Source::Files(files.iter().map(PathBuf::from).collect());
        assert_eq!(find("", true, None).unwrap(), files(&[&own]));
        let both = format!("/nowhere/at/all:{}", own.display());
        assert_eq!(find(&both, true, None).unwrap(), files(&[&own]));
        assert!(matches!(
            find("/nowhere/at/all", true, None),
            Err(ConnectError::NamedByVariable { .. })
        ));
    }
}
