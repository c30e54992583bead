//! A guest on this machine that clients accept as simulated, for figures and for clients that are other programs.
//!
//! `guest POLICY [INFER MODEL THREADS]` writes a policy that accepts it into the file POLICY, says on a line where it is and
//! what its model's name is once it is ready, and ends when its standard input does. Its workers are these processes; if they
//! are not given, they say the last message back.

#![expect(clippy::disallowed_methods, reason = "it starts workers, as systemd does in a guest, and has a clock")]
#![expect(clippy::print_stdout, reason = "says where it is")]

use attest::{Answer, Kind, Request};
use channel::evidence::report_data;
use channel::feed;
use measure::appraise::Time;
use measure::cmdline::Tee;
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::{GuestPolicy, Report};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scene::{MODEL, Setup};
use simulate::log::{World, policy};
use simulate::{Certificates, Leaf, Processor, Tcb};
use std::error::Error;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (policy, worker) = match arguments.as_slice() {
        [policy] => (policy, None),
        [policy, infer, model, threads] => (policy, Some([infer, model, threads].map(String::clone))),
        _ => return Err("expected POLICY, and no more or INFER MODEL THREADS".into()),
    };
    // Of files, for sessions.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;

    let mut processor = Processor {
        product: simulate::Product::Turin,
        leaf: Leaf::Vcek,
        report_version: 5,
        chip_id: [0xc1; 64],
        tcb: Tcb { fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 90 },
        firmware: [0, 58, 1],
        platform_info: 0b11_0100,
        mitigations: 0b01_0110,
        csp: "",
        policy: 0x302_0000,
        measurement: [0; 48],
        host_data: [0; 32],
    };
    let tcb = TcbVersion { fmc: 1, boot_loader: 1, tee: 1, snp: 4, microcode: 90 };
    let chip = Report::parse(&processor.report([0; 64]))?.chip_id();
    let now = Time(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs());
    let mut setup = Setup::default();
    let mut world = World::good(now, Tee::Simulated, (Product::Turin, tcb, chip));
    world.release.launch_policies[0].policy = GuestPolicy(processor.policy);
    // The model that the scene's command line names.
    let (other, model_root) = (world.release.model_sha256, setup.model_root());
    world.release.command_line = world.release.command_line.replace(&other.to_string(), &model_root.to_string());
    world.release.model_sha256 = model_root;
    processor.measurement = *world.release.shapes()?.rows()[0].launch_digest.0.as_bytes();
    let Certificates { ark, intermediate, leaf, crl } = processor.certificates();
    let parts = [
        ("feed", world.feed().to_bytes()?),
        ("snp-ark", ark),
        ("snp-ask", intermediate),
        ("snp-leaf", leaf),
        ("snp-crl", crl),
    ];
    setup.feed = feed::encode(&parts.map(|(name, bytes)| (name.to_owned(), bytes)).into())?;
    setup.answerer = Arc::new(move |request| match request {
        Request::Report { handshake, statement } => {
            let bytes = processor.report(*report_data(handshake, statement).as_bytes());
            Some(Answer::Report { kind: Kind::Snp, bytes })
        }
        _ => None,
    });
    if let Some([infer, model, threads]) = worker {
        setup.worker = Arc::new(move |stream| {
            let mut command = Command::new(&infer);
            command.args([&model, &threads]).env_clear().stdout(Stdio::null()).stderr(Stdio::null());
            let mut worker = command.stdin(stream.as_fd().try_clone_to_owned()?).spawn()?;
            worker.wait().map(|_status| ())
        });
    }
    // As many handshakes as whoever measures has.
    setup.limits.handshake_every = Duration::from_micros(100);
    write_policy(policy.as_ref())?;
    let scene = setup.start();
    scene.wait_until_ready();
    println!("{} {MODEL}", scene.address);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// The demonstration's policy, with demands on the release as well.
fn write_policy(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut demanded: toml::Table = include_str!("../../../docs/demo/policy.toml").parse()?;
    let snp = demanded.get_mut("snp").and_then(toml::Value::as_table_mut).ok_or("expected [snp]")?;
    snp.insert("measurements".into(), "release".into());
    let mut release = policy();
    release["log"]["tail"] = "any".into();
    demanded.insert("release".into(), release.into());
    Ok(std::fs::write(path, demanded.to_string())?)
}
