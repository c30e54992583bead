//! Somebody at an address, and all that they are told.

use channel::SUBPROTOCOL;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

/// Serves one connection.
pub(crate) struct Server {
    address: SocketAddr,
    serving: JoinHandle<Vec<Vec<u8>>>,
}

/// A client, and all messages of theirs.
pub(crate) struct Peer {
    socket: WebSocket<TcpStream>,
    received: Vec<Vec<u8>>,
}

impl Server {
    /// Takes a connection and does this with it.
    #[expect(clippy::result_large_err, reason = "tungstenite's callback")]
    pub(crate) fn start(serve: impl FnOnce(&mut Peer) -> Option<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let accepted = tungstenite::accept_hdr(stream, |_: &Request, mut response: Response| {
                let protocol = HeaderValue::from_static(SUBPROTOCOL);
                response.headers_mut().insert("sec-websocket-protocol", protocol);
                Ok(response)
            });
            let Ok(socket) = accepted else { return Vec::new() };
            let mut peer = Peer { socket, received: Vec::new() };
            let _gone = serve(&mut peer);
            // Whatever else there is.
            while peer.receive().is_some() {}
            peer.received
        });
        Self { address, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The client has ended: the messages that were received.
    pub(crate) fn received(self) -> Vec<Vec<u8>> {
        // If there was no connection at all, this is one.
        let _other = TcpStream::connect(self.address);
        self.serving.join().unwrap()
    }
}

impl Peer {
    /// The next message, until the client is gone.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.socket.read().ok()? {
                Message::Binary(message) => {
                    self.received.push(message.to_vec());
                    return Some(message.to_vec());
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: Vec<u8>) -> Option<()> {
        self.socket.send(Message::binary(message)).ok()
    }
}
