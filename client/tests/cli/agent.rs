//! `vitrine chat` with the agent itself, as it is in the image, with everything around it played.

use super::guest::{Guest, write_policy};
use super::{run, vitrine};
use scene::{MODEL, Setup};
use std::sync::Arc;

#[test]
fn an_agent_is_verified_and_answers() {
    let Guest { mut world, processor, fault } = Guest::good();
    let model = Setup::default().model_root();
    let release = &mut world.release;
    release.command_line = release.command_line.replace(&release.model_sha256.to_string(), &model.to_string());
    release.model_sha256 = model;
    let guest = Guest { world, processor, fault };
    let feed = guest.feed();
    let report = Arc::new(move |report: Vec<u8>| guest.processor.report(report[0x50..0x90].try_into().unwrap()));
    let scene = Setup { feed, report, ..Setup::default() }.start();
    scene.wait_until_ready();
    let dir = tempfile::tempdir().unwrap();
    write_policy(&dir.path().join("policy"));
    let vitrine = |arguments: &[&str]| {
        let flags = ["--policy", "policy", "--dangerously-accept-simulated-hardware"];
        run(vitrine(arguments).args(flags).current_dir(dir.path()))
    };
    let url = format!("http://{}", scene.address);
    for shaping in ["paced", "bucket", "off"] {
        let sampling = ["--temperature", "0.7", "--seed", "9", "--max-tokens", "2"];
        let written = ["--receipt", "receipt", "--save-bundle", "bundle", "--shaping", shaping];
        let ran = vitrine(&[&["chat", &url, "one two three"][..], &sampling, &written].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "one two \n"), "{}", ran.stderr);
        assert!(ran.stderr.contains("the answer was cut off"), "{}", ran.stderr);
        let written = std::fs::read_to_string(dir.path().join("receipt")).unwrap();
        assert!(written.contains("\"answer\":\"one two \"") && written.contains(MODEL), "{written}");
        let judged = vitrine(&["verify", "bundle"]);
        assert_eq!(judged.code, Some(0), "{}", judged.stdout);
    }
    let ran = vitrine(&["chat", &url, "--model", "other", "--shaping", "off", "one two three"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("the guest refuses the question: model"), "{}", ran.stderr);
}
