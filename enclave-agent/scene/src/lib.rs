//! An agent on this machine, with a directory as `/` and everything around it played: the helper, the processor behind it
//! and the workers. And a client, which asks nobody for a verdict. For tests, so what goes wrong here panics.
//!
//! ```no_run
//! use openai::call::{Call, Piece, Route};
//! use scene::{Client, Setup};
//!
//! let scene = Setup::default().start();
//! scene.wait_until_ready();
//! let mut client = Client::open(scene.address, channel::Shaping::Off).unwrap();
//! let (pieces, _outcome) = client.ask(&Call { route: Route::Models, salt: None, body: vec![] });
//! assert!(matches!(&pieces[..], [Piece::Models(_)]));
//! ```

mod client;
mod guest;

pub use client::{Broken, Client, WebSocket, dial, receive, text, upgrade};
pub use guest::{Answerer, MODEL, Report, Scene, Setup, Worker, chat, page, wait_until, with_byte};
