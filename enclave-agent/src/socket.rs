//! A WebSocket over TCP: messages in and out.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::consume_budget;
use tokio::time::timeout;

use crate::websocket::{Event, Opcode, Reader, frame};

/// Bytes that are read at once.
const READ: usize = 4096;

/// A connection with a client.
pub(crate) struct Socket {
    stream: TcpStream,
    reader: Reader,
    /// What was read and is not looked at yet.
    unread: Bytes,
    send_time: Duration,
}

/// Why a connection is closed; the numbers are WebSocket's (RFC 6455, 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    Normal = 1000,
    GoingAway = 1001,
    Violation = 1002,
    Busy = 1013,
}

impl Socket {
    /// Takes a connection over from HTTP. `None` if it is not one of ours.
    pub(crate) fn new(upgraded: Upgraded, send_time: Duration) -> Option<Self> {
        let Parts { io, read_buf, .. } = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
        Some(Self { stream: io.into_inner(), reader: Reader::default(), unread: read_buf, send_time })
    }

    /// Where the client is; `None` if it is nowhere any more.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.stream.peer_addr().map(|peer| peer.ip()).ok()
    }

    /// What comes next, of messages of at most `most` bytes; `None` if it was only a part. May be called again if it was
    /// dropped before it was done.
    ///
    /// # Errors
    /// When the connection fails or ends, and for what is no WebSocket, as [`io::ErrorKind::InvalidData`].
    pub(crate) async fn receive(&mut self, most: usize) -> io::Result<Option<Event>> {
        // A client that sends without a pause has its turn and no more: waiting for what is there already is no waiting.
        consume_budget().await;
        if self.unread.is_empty() {
            self.stream.readable().await?;
            self.read()?;
        }
        let mut unread = &self.unread[..];
        let event = self.reader.next(&mut unread, most);
        let taken = self.unread.len() - unread.len();
        self.unread = self.unread.slice(taken..);
        event.map_err(|violation| io::Error::new(io::ErrorKind::InvalidData, violation))
    }

    /// Whether something has begun to come that is not whole yet, or has not been looked at.
    pub(crate) fn is_receiving(&self) -> bool {
        self.reader.is_receiving() || !self.unread.is_empty()
    }

    /// Bytes that are held of it.
    pub(crate) fn held(&self) -> usize {
        self.reader.held().saturating_add(self.unread.len())
    }

    /// Reads what is there. The buffer is not kept for a connection on which nothing comes.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.unread = Bytes::copy_from_slice(&buffer[..read]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection fails, or the client does not take it in time. There is no going on then.
    pub(crate) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.write(Opcode::Binary, message).await
    }

    /// Asks the client for a sign of life.
    pub(crate) async fn ping(&mut self) -> io::Result<()> {
        self.write(Opcode::Ping, &[]).await
    }

    /// Gives one.
    pub(crate) async fn pong(&mut self, content: &[u8]) -> io::Result<()> {
        self.write(Opcode::Pong, content).await
    }

    /// Says goodbye, if the client takes that at once, and closes the connection.
    pub(crate) fn close(self, goodbye: Goodbye) {
        let code = (goodbye as u16).to_be_bytes();
        // Nobody is waited for who may not read at all.
        let _ = self.stream.try_write(&frame(Opcode::Close, &code));
    }

    async fn write(&mut self, opcode: Opcode, content: &[u8]) -> io::Result<()> {
        timeout(self.send_time, self.stream.write_all(&frame(opcode, content))).await?
    }
}
