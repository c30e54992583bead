//! A worker without a model: it says the last message back, a word at a time.

use crate::frame::{Failure, Finish, Frame, FrameError, Usage, read_request};
use crate::request::Request;
use crate::stop::Cutter;
use std::io::{self, Read, Write};

/// Does what a worker does with its one connection.
///
/// # Errors
/// When the stream fails, or ends before there is a request.
pub fn serve(stream: &mut (impl Read + Write)) -> io::Result<()> {
    Frame::Ready.write(stream)?;
    let request = match read_request(stream) {
        Ok(request) => request,
        Err(FrameError::Io(error)) => return Err(error),
        Err(_) => return Frame::Failed(Failure::Request).write(stream),
    };
    for frame in answer(&request) {
        frame.write(stream)?;
    }
    Ok(())
}

/// The frames of the answer: a word and the space behind it is a token.
pub fn answer(request: &Request) -> Vec<Frame> {
    let words = |text: &str| text.split_inclusive(' ').map(str::to_owned).collect::<Vec<_>>();
    let prompt = request.messages.iter().map(|message| words(&message.content).len()).sum::<usize>() as u32;
    let last = request.messages.last().map_or("", |message| &message.content);
    let (mut frames, mut completion, mut finish) = (Vec::new(), 0, Finish::Stop);
    let mut cutter = Cutter::new(request.stop.clone());
    for word in words(last) {
        if request.max_tokens == Some(completion) {
            finish = Finish::Length;
            break;
        }
        completion += 1;
        let (text, stopped) = cutter.push(word.as_bytes());
        frames.extend((!text.is_empty()).then_some(Frame::Text(text)));
        if stopped {
            break;
        }
    }
    let rest = cutter.rest();
    frames.extend((!rest.is_empty()).then_some(Frame::Text(rest)));
    frames.push(Frame::Done(finish, Usage { prompt, completion }));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_the_last_message_back() {
        let request = |rest: &str| {
            let messages = r#"[{"role":"user","content":"a b"},{"role":"user","content":"one two three"}]"#;
            Request::parse(format!(r#"{{"model":"m","messages":{messages}{rest}}}"#).as_bytes()).unwrap()
        };
        for (rest, expected, finish, completion) in [
            ("", "one two three", Finish::Stop, 3),
            (r#","max_tokens":2"#, "one two ", Finish::Length, 2),
            (r#","max_tokens":3"#, "one two three", Finish::Stop, 3),
            (r#","stop":"o t""#, "one tw", Finish::Stop, 3),
        ] {
            let mut frames = answer(&request(rest));
            assert!(frames.pop() == Some(Frame::Done(finish, Usage { prompt: 5, completion })), "{rest}");
            let text: String = frames
                .iter()
                .map(|frame| match frame {
                    Frame::Text(text) => text.as_str(),
                    _ => panic!("expected text"),
                })
                .collect();
            assert_eq!(text, expected);
        }
    }
}
