//! Clients that say nothing: `idle ADDRESS COUNT` opens so many sessions, says so on a line, and ends when its standard input
//! does.

#![expect(clippy::print_stdout, reason = "says when they are open")]

use channel::Shaping;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scene::Client;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, address, count] = arguments.as_slice() else { return Err("expected ADDRESS COUNT".into()) };
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let (address, count) = (address.parse()?, count.parse()?);
    let open = (0..count).map(|_| Client::open(address, Shaping::Paced).map_err(|broken| broken.0));
    let clients: Vec<_> = open.collect::<Result<_, _>>()?;
    println!("{}", clients.len());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
