//! Workers: one for each request, one that waits, and what is said when there is none.

use super::*;

/// A worker that says one word and then nothing, until the agent closes the connection.
pub(crate) fn hesitant() -> Setup {
    let worker = |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        if read_request(stream).is_ok() {
            Frame::Text("so".into()).write(stream)?;
            let _ = std::io::Read::read(stream, &mut [0]);
        }
        Ok(())
    };
    Setup { worker: Arc::new(worker), ..Setup::default() }
}

/// A client that has received the first word of an answer.
pub(crate) fn asking(scene: &Scene) -> Client {
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    client.send(&chat("x", "")).unwrap();
    let (pieces, end) = client.receive().unwrap();
    assert!(pieces == [Piece::Text("so".into())] && end.is_none());
    client
}

#[test]
fn whoever_has_enough_frees_the_worker() {
    let scene = ready(hesitant());
    for how in ["cancel", "close", "vanish"] {
        let mut client = asking(&scene);
        // One at work, one spare.
        wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 2);
        match how {
            "cancel" => {
                client.cancel().unwrap();
                assert!(client.rest().unwrap().1 == Outcome::Cancelled);
                client.close().unwrap();
            }
            "close" => client.socket.close(None).unwrap(),
            _ => drop(client),
        }
        wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 1);
    }
}

#[test]
fn no_two_requests_share_a_worker() {
    let scene = ready(hesitant());
    let clients: Vec<_> = (0..3).map(|_| asking(&scene)).collect();
    wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 4);
    assert_eq!(scene.workers_started.load(Ordering::SeqCst), 4, "one each and one spare");
    drop(clients);
}

#[test]
fn the_next_worker_is_started_at_the_first_word_or_when_it_is_wanted() {
    let started = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (count, (tell, told)) = (Arc::clone(&started), channel());
    let worker = move |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        let mine = count.fetch_add(1, Ordering::SeqCst);
        if read_request(stream).is_ok() {
            // Long enough for another to be started, if it were.
            std::thread::sleep(Duration::from_millis(300));
            let _ = tell.send((mine, count.load(Ordering::SeqCst)));
            // The second one says nothing until there is a third, which only somebody who waits can have wanted.
            while mine == 1 && count.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
            Frame::Text("so".into()).write(stream)?;
            let _ = std::io::Read::read(stream, &mut [0]);
        }
        Ok(())
    };
    let scene = ready(Setup { worker: Arc::new(worker), ..Setup::default() });
    let first = asking(&scene);
    assert_eq!(told.recv().unwrap(), (0, 1));
    wait_until(|| started.load(Ordering::SeqCst) == 2);
    let mut second = Client::open(scene.address, Shaping::Off).unwrap();
    second.send(&chat("x", "")).unwrap();
    assert_eq!(told.recv().unwrap(), (1, 2));
    let third = asking(&scene);
    assert!(second.receive().unwrap().0 == [Piece::Text("so".into())]);
    drop((first, third));
}

#[test]
fn a_lost_worker_is_said_and_the_next_one_answers() {
    for (name, end) in
        [("gone", None), ("nonsense", Some(&b"\x09\0\0\0\0"[..])), ("ready twice", Some(b"\x01\0\0\0\0"))]
    {
        let (first, once) = (Arc::new(std::sync::atomic::AtomicBool::new(true)), end);
        let worker = move |stream: &mut std::os::unix::net::UnixStream| {
            if !first.swap(false, Ordering::SeqCst) {
                return openai::fake::serve(stream);
            }
            Frame::Ready.write(stream)?;
            let _ = read_request(stream);
            Frame::Text("so".into()).write(stream)?;
            stream.write_all(once.unwrap_or_default())
        };
        let scene = ready(Setup { worker: Arc::new(worker), ..Setup::default() });
        let mut client = Client::open(scene.address, Shaping::Off).unwrap();
        let (pieces, outcome) = client.ask(&chat("x", ""));
        assert!(pieces == [Piece::Text("so".into()), Piece::Failed(Failure::Engine)], "{name}");
        assert_eq!(outcome, Outcome::Complete);
        assert_eq!(text(&client.ask(&chat("again", "")).0), "again", "{name}");
    }
}

#[test]
fn a_spare_that_died_is_not_used_and_a_silent_worker_is_given_up() {
    // The second worker ends once it is ready; the third takes its place.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let worker = move |stream: &mut std::os::unix::net::UnixStream| match count.fetch_add(1, Ordering::SeqCst) {
        1 => Frame::Ready.write(stream),
        3 => {
            Frame::Ready.write(stream)?;
            let _ = read_request(stream);
            let _ = std::io::Read::read(stream, &mut [0]);
            Ok(())
        }
        _ => openai::fake::serve(stream),
    };
    let mut setup = limits(|limits| limits.worker_silence = Duration::from_secs(2));
    setup.worker = Arc::new(worker);
    let scene = ready(setup);
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    for (expected, started, running) in [("first", 2, 0), ("second", 4, 1)] {
        assert_eq!(text(&client.ask(&chat(expected, "")).0), expected);
        wait_until(|| scene.workers_started.load(Ordering::SeqCst) == started);
        wait_until(|| scene.workers_running.load(Ordering::SeqCst) == running);
    }
    let (pieces, _) = client.ask(&chat("third", ""));
    assert!(pieces == [Piece::Failed(Failure::Engine)]);
    wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 1);
}

#[test]
fn whoever_comes_when_all_workers_are_busy_is_told() {
    let mut setup = hesitant();
    (setup.limits.workers, setup.limits.worker_wait) = (1, Duration::from_secs(2));
    let scene = ready(setup);
    let first = asking(&scene);
    let mut second = Client::open(scene.address, Shaping::Off).unwrap();
    assert!(second.ask(&chat("x", "")).0 == [Piece::Busy]);
    drop(first);
    wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 1);
    second.send(&chat("x", "")).unwrap();
    assert!(second.receive().unwrap().0 == [Piece::Text("so".into())]);
}

#[test]
fn a_slot_is_free_when_its_worker_has_gone() {
    let (go_on, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let worker = move |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        if read_request(stream).is_ok() {
            Frame::Text("so".into()).write(stream)?;
            // It does not look whether somebody listens.
            let _ = wait.lock().unwrap().recv();
        }
        Ok(())
    };
    let mut setup = Setup { worker: Arc::new(worker), ..Setup::default() };
    (setup.limits.workers, setup.limits.worker_wait) = (1, Duration::from_millis(200));
    let scene = ready(setup);
    let mut first = asking(&scene);
    first.cancel().unwrap();
    assert!(first.rest().unwrap().1 == Outcome::Cancelled);
    assert!(first.ask(&chat("x", "")).0 == [Piece::Busy]);
    go_on.send(()).unwrap();
    wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 1);
    drop(first);
    drop(go_on);
    wait_until(|| Client::open(scene.address, Shaping::Off).unwrap().ask(&chat("x", "")).0 != [Piece::Busy]);
}

#[test]
fn whoever_reads_slowly_holds_no_worker() {
    let worker = |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        if read_request(stream).is_ok() {
            for _ in 0..200 {
                Frame::Text("x".repeat(10_000)).write(stream)?;
            }
            Frame::Done(Finish::Stop, Usage { prompt: 1, completion: 200 }).write(stream)?;
        }
        Ok(())
    };
    let mut setup = Setup { worker: Arc::new(worker), ..Setup::default() };
    setup.limits.workers = 1;
    let scene = ready(setup);
    // Two hundred pieces take twenty seconds to be sent in this shape.
    let mut slow = Client::open(scene.address, Shaping::Paced).unwrap();
    slow.send(&chat("x", "")).unwrap();
    // More than the connection holds, of which nothing is read.
    let mut still = Client::open(scene.address, Shaping::Off).unwrap();
    still.send(&chat("x", "")).unwrap();
    let mut other = Client::open(scene.address, Shaping::Off).unwrap();
    assert_eq!(text(&other.ask(&chat("x", "")).0).len(), 2_000_000);
    drop((slow, still));
}
