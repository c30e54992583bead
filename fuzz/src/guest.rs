//! Properties of what a guest is sent: by users, by the agent, by a worker, by the simulated processor.

use enclave_agent::websocket::{Event, MAX_MESSAGE, Reader, Violation};
use openai::{Call, Cutter, Frame, MAX_BODY, MAX_FRAME, Pieces, Request};
use simulate_port::{ANSWER, Answer, REQUEST};

/// A request that is accepted survives the way to a worker, and its stop strings end any text.
pub fn chat_request(bytes: &[u8]) -> bool {
    let Ok(request) = Request::parse(bytes) else { return false };
    assert!(bytes.len() <= MAX_BODY);
    let mut sent = Vec::new();
    openai::write_request(&mut sent, &request).expect("memory takes it");
    assert!(openai::read_request(&mut &sent[..]).is_ok_and(|read| read == request));
    for stop in &request.stop {
        let (_text, stopped) = Cutter::new(request.stop.clone()).push(stop.as_bytes());
        assert!(stopped);
    }
    true
}

/// What comes over a WebSocket is the same however it is cut, and no message is longer than it may be.
pub fn websocket(bytes: &[u8]) -> bool {
    let read = |size: usize| {
        let (mut reader, mut events, mut messages) = (Reader::default(), 0, Vec::new());
        for mut part in bytes.chunks(size) {
            loop {
                match reader.next(&mut part, MAX_MESSAGE) {
                    Ok(None) => break,
                    Ok(Some(Event::Message(message))) => messages.push(message),
                    Ok(Some(_)) => events += 1,
                    Err(Violation) => return (false, events, messages),
                }
            }
            assert!(part.is_empty());
        }
        (true, events, messages)
    };
    let (fits, events, messages) = read(bytes.len().max(1));
    assert!(messages.iter().all(|message| message.len() <= MAX_MESSAGE));
    assert!(read(1) == (fits, events, messages.clone()));
    fits && (events > 0 || !messages.is_empty())
}

/// A call that is accepted is written as it was read; so is a reply, and it is the same however it comes.
pub fn call(bytes: &[u8]) -> bool {
    let call = Call::parse(bytes);
    assert!(call.as_ref().map_or(true, |call| call.to_bytes() == bytes));
    let (mut slow, mut fast, mut pieces) = (Pieces::default(), Pieces::default(), Vec::new());
    let slowly = bytes.iter().try_for_each(|byte| slow.push(&[*byte]).map(|more| pieces.extend(more)));
    let at_once = fast.push(bytes).and_then(|pieces| fast.end().map(|()| pieces));
    let slowly = slowly.and_then(|()| slow.end().map(|()| pieces));
    assert!(slowly == at_once);
    let mut written = Vec::new();
    at_once.iter().flatten().for_each(|piece| piece.write(&mut written));
    assert!(at_once.is_err() || written == bytes);
    call.is_ok() || at_once.is_ok()
}

/// A frame that is accepted is written as it was read. Any bytes are text in the end, however they are cut.
pub fn worker_frame(bytes: &[u8]) -> bool {
    let mut cutter = Cutter::new(vec![]);
    let mut text: String = bytes.chunks(3).map(|piece| cutter.push(piece).0).collect();
    text += &cutter.rest();
    assert_eq!(text, String::from_utf8_lossy(bytes));
    let mut rest = bytes;
    let Ok(frame) = openai::read(&mut rest) else { return false };
    let mut written = Vec::new();
    frame.write(&mut written).expect("memory takes it");
    assert_eq!(written, bytes[..bytes.len() - rest.len()]);
    assert!(!matches!(frame, Frame::Text(text) if text.is_empty() || text.len() > MAX_FRAME));
    true
}

/// A message that is accepted is written as it was read.
pub fn processor_message(bytes: &[u8]) -> bool {
    let asked = bytes.first_chunk::<REQUEST>().and_then(|bytes| simulate_port::Request::parse(bytes).ok());
    let told = bytes.first_chunk::<ANSWER>().and_then(|bytes| Answer::parse(bytes).ok());
    assert!(asked.is_none_or(|asked| bytes.starts_with(&asked.to_bytes())));
    assert!(told.is_none_or(|told| bytes.starts_with(&told.to_bytes())));
    asked.is_some() || told.is_some()
}

/// A message between agent and helper that is accepted is written as it was read.
pub fn helper_message(bytes: &[u8]) -> bool {
    let asked = bytes.first_chunk().and_then(|bytes| attest::Request::parse(bytes).ok());
    let told = attest::Answer::parse(bytes).ok();
    assert!(asked.is_none_or(|asked| bytes.starts_with(&asked.to_bytes())));
    assert!(told.as_ref().is_none_or(|told| told.to_bytes().is_ok_and(|written| written == bytes)));
    asked.is_some() || told.is_some()
}

/// However what a port brings is cut, the newest frame is the same, and framed again it is one of its own.
pub fn port_frame(bytes: &[u8]) -> bool {
    use attest::frame::{OPERATOR, Reader};
    let (mut slow, mut fast) = (Reader::new(&OPERATOR), Reader::new(&OPERATOR));
    let found = bytes.chunks(7).filter_map(|chunk| slow.push(chunk)).last();
    assert_eq!(found, fast.push(bytes));
    let Some(frame) = found else { return false };
    let framed = OPERATOR.frame(&frame).expect("it was within the limit");
    assert_eq!(Reader::new(&OPERATOR).push(&framed), Some(frame));
    true
}

#[cfg(test)]
pub(crate) fn samples(name: &str) -> Vec<Vec<u8>> {
    use openai::Piece;
    let body = br#"{"model":"m","messages":[{"role":"user","content":"2+2?"}],"temperature":0.5,"top_p":1,"seed":7,
        "max_tokens":9,"stop":["a","bc"],"stream":true,"stream_options":{"include_usage":true}}"#;
    let frame = |frame: Frame| {
        let mut bytes = Vec::new();
        frame.write(&mut bytes).expect("memory takes it");
        bytes
    };
    let usage = openai::Usage { prompt: 1, completion: 2 };
    let reply = |pieces: &[Piece]| {
        let mut bytes = Vec::new();
        pieces.iter().for_each(|piece| piece.write(&mut bytes));
        bytes
    };
    let done = Piece::Done(openai::Finish::Stop, usage);
    match name {
        "call" => vec![
            Call { route: openai::Route::Chat, salt: Some([7; 32]), body: body.to_vec() }.to_bytes(),
            reply(&[Piece::Text("n\u{e9}e ".to_owned()), done, Piece::Receipt(vec![1; 40])]),
            reply(&[Piece::Text("a".to_owned()), Piece::Failed(openai::Failure::Engine)]),
        ],
        "chat_request" => vec![body.to_vec()],
        // A message in two frames with a ping between them, and one whose length has two bytes.
        "websocket" => vec![
            b"\x02\x82\x01\x02\x03\x04hi\x89\x80\x01\x02\x03\x04\x80\x81\x01\x02\x03\x04!".to_vec(),
            [&b"\x82\xfe\0\x80\x01\x02\x03\x04"[..], &[9; 128]].concat(),
        ],
        "worker_frame" => vec![
            frame(Frame::Text("n\u{e9}e \u{1f600}".to_owned())),
            frame(Frame::Done(openai::Finish::Length, usage)),
            frame(Frame::Failed(openai::Failure::TooLong)),
        ],
        "helper_message" => vec![
            attest::Request::Report { handshake: measure::Sha256::of(b"h"), statement: measure::Sha256::of(b"s") }
                .to_bytes()
                .to_vec(),
            attest::Request::Feed.to_bytes().to_vec(),
            attest::Answer::Operator(Some(b"document".to_vec())).to_bytes().expect("it is short"),
            attest::Answer::Failed(attest::Failure::Busy).to_bytes().expect("it is short"),
        ],
        "port_frame" => {
            let frame = |text: &[u8]| attest::frame::OPERATOR.frame(text).expect("it is short");
            vec![[&b"noise"[..], &frame(b"first"), &frame(b"second")].concat(), frame(b"")]
        }
        _ => vec![
            simulate_port::Request { report_data: [1; 64] }.to_bytes().to_vec(),
            Answer::Refused.to_bytes().to_vec(),
            Answer::Report([7; simulate_port::REPORT]).to_bytes().to_vec(),
        ],
    }
}
