//! `bao agent` of `OpenBao` 2.7.2: logs in by itself, renders a template, keeps its token in a file, answers as a
//! proxy, renews. A denial that ends is enough for it to work: nobody has to start it again.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::clients::scene::{ELSEWHERE, HERE, Scene, wait_for_content, without_settings};
use testkit::client::SECRET;
use testkit::wait::wait_until;
use testkit::{Client, Process, tool};

const LOGIN: &str = "/v1/auth/approle/login";
const RENEWAL: &str = "/v1/auth/token/renew-self";

fn configuration(scene: &Scene, listener: SocketAddrV4) -> String {
    let path = |name: &str| scene.sandbox.at(name).display().to_string();
    format!(
        r#"
vault {{ address = "http://{data}" }}
auto_auth {{
  method "approle" {{
    min_backoff = "100ms"
    max_backoff = "1s"
    config = {{
      role_id_file_path = "{role}"
      secret_id_file_path = "{secret}"
      remove_secret_id_file_after_reading = false
    }}
  }}
  sink "file" {{ config = {{ path = "{sink}" }} }}
}}
api_proxy {{ use_auto_auth_token = true }}
cache {{}}
listener "tcp" {{
  address = "{listener}"
  tls_disable = true
}}
template_config {{ static_secret_render_interval = "500ms" }}
template {{
  contents = "{{{{ with secret \"secret/data/app\" }}}}{{{{ .Data.data.password }}}}{{{{ end }}}}"
  destination = "{rendered}"
}}
"#,
        data = scene.sandbox.data(),
        role = path("role-id"),
        secret = path("secret-id"),
        sink = path("sink"),
        rendered = path("rendered"),
    )
}

#[test]
fn an_agent_recovers_from_a_denial_by_itself() {
    let scene = Scene::start(ELSEWHERE);
    let (role, secret) = scene.app_role(r#"{"token_policies": "app", "token_ttl": "3s"}"#);
    let at = |name: &str| scene.sandbox.at(name);
    fs::write(at("role-id"), role).unwrap();
    fs::write(at("secret-id"), secret).unwrap();
    let listener = SocketAddrV4::new(*scene.sandbox.data().ip(), 8500);
    fs::write(at("agent.hcl"), configuration(&scene, listener)).unwrap();
    let mut agent = without_settings(tool("bao"), &at(""));
    agent.arg("agent").arg("-config").arg(at("agent.hcl"));
    let agent = Process::start("agent", agent, &at(""));

    scene.wait_for_record(0, LOGIN, 403);
    assert!(!at("sink").exists());
    scene.allow(HERE);
    wait_for_content(&at("rendered"), "correct horse");
    wait_until("the token is in the sink", || at("sink").exists());

    // A client of the agent has no token of its own.
    let mut client = Client::new(Ipv4Addr::LOCALHOST, listener);
    client.headers.clear();
    let answer = client.send("GET", SECRET, "").unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    scene.wait_for_record(0, RENEWAL, 200);
    scene.set_password("battery");
    wait_for_content(&at("rendered"), "battery");

    // Denied while it works: it keeps what it has rendered, and passes the reason on.
    let before = scene.records().len();
    scene.allow(ELSEWHERE);
    scene.wait_for_record(before, SECRET, 403);
    scene.set_password("staple");
    // Its token ends, because it cannot be renewed.
    scene.wait_for_record(before, LOGIN, 403);
    let answer = client.send("POST", SECRET, "{}").unwrap();
    assert_eq!(answer.status, 403, "{answer}");
    assert!(answer.body.contains("Vaultwall denied"), "{answer}");
    assert_eq!(fs::read_to_string(at("rendered")).unwrap(), "battery");
    scene.allow(HERE);
    wait_for_content(&at("rendered"), "staple");
    agent.stop();
}
