//! What users may ask of the model, in the form of OpenAI's chat completions, and what they are told; how both are
//! said in a session; and the frames by which the agent hands a request to a worker (docs/formats.md, "Chat
//! completions", "Calls" and "Workers").
//!
//! What a client sends is read into [`Request`], in which everything is known and bounded, and only that goes on: the
//! worker gets it written anew and reads it by the same rules. There are no grammars, tools, images, log probabilities
//! or caches to ask for.
//!
//! Nothing here has a `Debug` that shows what users wrote; [`Refusal`]'s text is for the client alone.

mod answer;
pub mod call;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod frame;
mod request;
mod stop;

pub use answer::{Completion, models};
pub use call::{Call, MAX_PIECE, Malformed, Piece, Pieces, Route};
pub use frame::{Failure, Finish, Frame, FrameError, MAX_FRAME, Usage, read, read_request, write_request};
pub use request::{
    MAX_BODY, MAX_COMPLETION, MAX_MESSAGES, MAX_MODEL, MAX_STOP, MAX_STOPS, MAX_TEXT, Message, Refusal, Request, Role,
};
pub use stop::Cutter;
