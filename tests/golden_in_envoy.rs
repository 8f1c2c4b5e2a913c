//! The Envoy configurations of the golden cases, checked by the real Envoy.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{fs, thread};

use prost::Message;
use vaultwall::compile::envoy::{
    AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE, Tls, static_bootstrap, to_json,
};

use crate::cases::{Case, firewalls, load, proxy, root};

/// Reads certificates from this folder, in place of those of a pod.
fn use_certificates_in(tls: &mut Tls, folder: &Path) {
    let path = folder.display().to_string();
    tls.configuration.clone_from(&path);
    if let Some(clients) = &mut tls.clients {
        clients.clone_from(&path);
    }
    if let Some(vault) = &mut tls.vault {
        vault.authorities = path;
    }
    for (name, text) in tls.files() {
        fs::write(folder.join(name), text).unwrap();
    }
    let key = rcgen::generate_simple_self_signed(["openbao".to_owned()]).unwrap();
    for (name, pem) in [
        (CERTIFICATE_FILE, key.cert.pem()),
        (KEY_FILE, key.signing_key.serialize_pem()),
        (AUTHORITY_FILE, key.cert.pem()),
    ] {
        fs::write(folder.join(name), pem).unwrap();
    }
}

/// Checks the firewalls of `envoy.json`, each complete in one file, as JSON and in binary form.
#[test]
fn envoy_accepts_every_golden_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for case in Case::all() {
        for (index, (firewall, _, settings)) in firewalls(load(&case)).iter().enumerate() {
            let mut proxy = proxy(firewall, settings);
            use_certificates_in(&mut proxy.tls, folder.path());
            let bootstrap = static_bootstrap(firewall, &firewall.table(), &proxy);
            let file = |ending| {
                folder
                    .path()
                    .join(format!("{}-{index}.{ending}", case.name))
            };
            fs::write(file("json"), to_json(&bootstrap).unwrap().to_string()).unwrap();
            fs::write(file("pb"), bootstrap.encode_to_vec()).unwrap();
            files.extend([file("json"), file("pb")]);
        }
    }
    assert_eq!(errors(files), Vec::<String>::new());
}

#[test]
fn envoy_accepts_the_bootstrap_files_of_render() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_vaultwall"))
        .args(["render", "-f"])
        .args([
            root().join("cluster.yaml"),
            root().join("several-policies/in.yaml"),
            root().join("active-service/in.yaml"),
        ])
        .arg("--output-dir")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let bootstraps = ["vault.openbao", "vault.openbao-active"]
        .map(|vault| folder.path().join(vault).join("envoy-static.json"));
    assert_eq!(errors(bootstraps.into()), Vec::<String>::new());
}

/// A validation that never fails would prove nothing. Envoy accepts a `.pb` file that it cannot parse at all; an error
/// about the field at the very end of one shows that it has read the fields before.
#[test]
fn envoy_refuses_an_unknown_field() {
    let case = &Case::all()[0];
    let (firewall, _, settings) = &firewalls(load(case))[0];
    let proxy = proxy(firewall, settings);
    let bootstrap = static_bootstrap(firewall, &firewall.table(), &proxy);
    let unknown_field = [0xfa, 0x3f, 0x01, b'a'];
    let folder = tempfile::tempdir().unwrap();
    let (binary, json) = (
        folder.path().join("wrong.pb"),
        folder.path().join("wrong.json"),
    );
    fs::write(
        &binary,
        [bootstrap.encode_to_vec(), unknown_field.into()].concat(),
    )
    .unwrap();
    let text = to_json(&bootstrap).unwrap().to_string();
    fs::write(&json, text.replace("\"listeners\"", "\"listenerz\"")).unwrap();
    let errors = errors(vec![binary, json]);
    assert_eq!(errors.len(), 2, "{errors:?}");
    for error in errors {
        assert!(error.contains("unknown fields"), "{error}");
    }
}

/// Returns Envoy's errors about the files; two are checked at a time.
fn errors(files: Vec<PathBuf>) -> Vec<String> {
    let left = Mutex::new(files);
    let found = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = left.lock().unwrap().pop();
            let Some(file) = next else { break };
            let error = testkit::envoy::validation_error(&file);
            found.lock().unwrap().extend(error);
        }
    };
    thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        for thread in threads {
            thread.join().unwrap();
        }
    });
    found.into_inner().unwrap()
}
