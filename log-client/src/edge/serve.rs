//! Serving a log's public files. Any static file server does as well; this one serves nothing else.

use super::directory::{CHECKPOINT, read};
use super::http::{Request, Response, serve};
use crate::tile::Tile;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

/// Bytes of the largest file: a bundle.
const MAX_FILE: u64 = 17 << 20;

/// Serves the log in `root` until the process ends.
pub fn log(root: &Path, listener: &TcpListener) -> anyhow::Result<()> {
    serve(listener, 0, |request| answer(root, request))
}

fn answer(root: &Path, request: &Request) -> Response {
    if request.method != "GET" {
        return Response::text(405, "expected GET");
    }
    let name = request.path.strip_prefix('/').unwrap_or_default();
    let (content_type, cache) = match name {
        CHECKPOINT => ("text/plain; charset=utf-8", "no-cache"),
        // Only what reads back as a tile's path reaches the file system.
        name if name.parse::<Tile>().is_ok() => ("application/octet-stream", "public, max-age=31536000, immutable"),
        _ => return Response::text(404, "expected /checkpoint or /tile/..."),
    };
    match read(&root.join(name), MAX_FILE) {
        Ok(body) => Response { status: 200, content_type, cache, body },
        Err(error) if error.kind() == ErrorKind::NotFound => Response::text(404, "not in this log"),
        Err(_) => Response::text(500, "the file cannot be read"),
    }
}
