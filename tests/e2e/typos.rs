//! Typing errors in the target of a policy that is in force, under load: no request of an outsider passes, through the
//! firewall or past it, and no request of an insider fails.

use std::time::Instant;

use serde_json::json;
use testkit::cluster::vault::SECRET_PATH;
use testkit::cluster::{eventually, try_apply};

use crate::scene::Scene;
use crate::shared;

#[test]
fn typing_errors_in_the_target_open_nothing_and_cut_nobody_off() {
    let (scene, _operator) = Scene::protected("e2e-typos", shared);
    let direct = scene.vault.url("openbao", 8200, SECRET_PATH);
    let past = scene.other.load("client", &scene.vault.token, &direct);

    scene.unbroken("a wrong targetRef.name", || {
        let began = Instant::now();
        let target = json!({"targetRef": {"name": "openbap", "port": 8200}});
        let refused = try_apply(&scene.policy(&target).to_string());
        println!(
            "a wrong targetRef.name: refused after {:?}",
            began.elapsed()
        );
        assert!(
            !refused.succeeded
                && refused
                    .stderr
                    .contains("spec.targetRef.name: Invalid value"),
            "{refused:?}"
        );
        let began = Instant::now();
        scene.protect(&json!({}));
        println!(
            "a wrong targetRef.name: corrected after {:?}",
            began.elapsed()
        );
    });

    scene.unbroken("a wrong targetRef.port", || {
        let began = Instant::now();
        scene.apply_policy(&json!({"targetRef": {"name": "openbao", "port": 8299}}));
        let message = eventually("the port is reported", || {
            match scene.vault.condition("Programmed") {
                Some([status, reason, message])
                    if status == "False" && reason == "PortNotFound" =>
                {
                    Ok(message)
                }
                other => Err(format!("{other:?}")),
            }
        });
        println!(
            "a wrong targetRef.port: reported after {:?}",
            began.elapsed()
        );
        assert!(
            message.contains("the firewall stays at port 8200"),
            "{message}"
        );
        scene.holds();
        let began = Instant::now();
        scene.protect(&json!({}));
        println!(
            "a wrong targetRef.port: corrected after {:?}",
            began.elapsed()
        );
    });

    let past = past.end();
    assert!(
        past.failures > 0 && past.answers.is_empty(),
        "{}",
        past.json
    );
    scene.holds();
}
