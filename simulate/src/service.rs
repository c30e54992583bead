//! The simulated processor as a guest meets it: somebody at the other end of virtio-serial port `vitrine.sim`.

use crate::Processor;
use simulate_port::{Answer, REQUEST, Request};
use std::io::{self, Read, Write};

/// Answers one request after the other, until the stream ends or something comes that is no request.
///
/// # Errors
/// When the stream fails, or ends within a request.
pub fn serve(stream: &mut (impl Read + Write), processor: &Processor) -> io::Result<()> {
    let mut message = [0; REQUEST];
    while read_whole(stream, &mut message)? {
        let answer = Request::parse(&message).map_or(Answer::Refused, |Request { report_data }| {
            Answer::Report(processor.report(report_data).try_into().expect("reports have one size"))
        });
        stream.write_all(&answer.to_bytes())?;
        stream.flush()?;
        if answer == Answer::Refused {
            break;
        }
    }
    Ok(())
}

/// Fills `message`; `false` if the stream ends before its first byte.
fn read_whole(stream: &mut impl Read, message: &mut [u8]) -> io::Result<bool> {
    let (first, rest) = message.split_at_mut(1);
    match stream.read_exact(first) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        answer => answer?,
    }
    stream.read_exact(rest)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Guest, Product};
    use simulate_port::ANSWER;
    use std::io::Cursor;

    /// What was sent, and what came back.
    struct Port(Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Port {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Port {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_request_gets_its_report_until_one_is_none() {
        let guest = Guest { policy: 0x3_0000, measurement: [9; 48], host_data: [4; 32] };
        let processor = Processor::patched(Product::Genoa, guest);
        let request = |fill| Request { report_data: [fill; 64] }.to_bytes().to_vec();
        let (good, other) = (&request(1)[..], &request(2)[..]);
        let bad = &[b"V", &good[1..]].concat()[..];
        let torn = &good[..REQUEST - 1];
        for (sent, reports, refused, whole) in [
            (vec![], vec![], false, true),
            (vec![good, other], vec![1, 2], false, true),
            (vec![good, bad, other], vec![1], true, true),
            (vec![good, torn], vec![1], false, false),
        ] {
            let mut port = Port(Cursor::new(sent.concat()), Vec::new());
            assert_eq!(serve(&mut port, &processor).is_ok(), whole);
            let answers: Vec<_> =
                port.1.chunks(ANSWER).map(|answer| Answer::parse(answer.try_into().unwrap()).unwrap()).collect();
            let mut expected: Vec<_> = reports
                .into_iter()
                .map(|fill| Answer::Report(processor.report([fill; 64]).try_into().unwrap()))
                .collect();
            expected.extend(refused.then_some(Answer::Refused));
            assert!(answers == expected, "{} answers, expected {}", answers.len(), expected.len());
        }
    }
}
