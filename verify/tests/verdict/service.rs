//! A report that was asked for through a socket, as `launch --simulate` passes it to the guest.

use super::*;
use simulate_port::{ANSWER, Answer as Message};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

#[test]
fn a_report_from_the_port_is_judged_as_simulated() {
    let guest = Guest { policy: 1 << 25 | 1 << 17, measurement: [0x3e; 48], host_data: [0x40; 32] };
    let processor = Processor::patched(Product::Genoa, guest);
    let (mut guest_side, mut host_side) = UnixStream::pair().unwrap();
    let mut message = [0; ANSWER];
    std::thread::scope(|scope| {
        let service = scope.spawn(|| simulate::service::serve(&mut host_side, &processor));
        guest_side.write_all(&simulate_port::Request { report_data: [0xd4; 64] }.to_bytes()).unwrap();
        guest_side.read_exact(&mut message).unwrap();
        guest_side.shutdown(std::net::Shutdown::Both).unwrap();
        service.join().unwrap().unwrap();
    });
    let Ok(Message::Report(report)) = Message::parse(&message) else { panic!("expected a report") };

    let mut policy = hardware_only();
    let hex = |byte: &str, count| Value::String(byte.repeat(count));
    policy["snp"]["measurements"] = Value::Table(Table::from_iter([("3e".repeat(48), Value::String("it".into()))]));
    policy["snp"]["host-data"] = hex("40", 32);
    let answer = |policy: &Table| verdict(&of(&processor, report.to_vec()), policy, Origin::Simulated);
    let simulated = answer(&policy);
    let built_for_it = cfg!(feature = "simulated-hardware");
    assert_eq!(simulated.outcome(), if built_for_it { Outcome::Simulated } else { Outcome::Rejected }, "{simulated}");
    // What the processor was told of its guest is what a policy sees.
    policy["snp"]["host-data"] = hex("41", 32);
    assert!(ids(&answer(&policy), Answer::Failed).contains("snp.identity.host-data"));
    policy["snp"]["host-data"] = Value::String("any".into());
    policy["snp"]["measurements"] = Value::Table(Table::from_iter([("3f".repeat(48), Value::String("it".into()))]));
    assert!(ids(&answer(&policy), Answer::Failed).contains("snp.identity.measurement"));
}
