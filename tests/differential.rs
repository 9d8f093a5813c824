//! lbd's reading of HTTP/1 beside hyper's: what hyper refuses, or cuts into messages at other places,
//! lbd must refuse as well. The fuzz targets of the same names hold the same laws on any bytes.

pub mod answers;
pub mod requests;

use std::{fs, path::Path};

/// How many inputs are made for each law.
const ROUNDS: u64 = 3000;

/// The seeds of a fuzz target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut seeds: Vec<_> =
        files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

/// Pieces of which heads and bodies are made; some are bad, all are what attackers try.
const PIECES: [&str; 64] = [
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ": ",
    ",",
    ";",
    "0",
    "1",
    "5",
    "a",
    "0\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST /b?c HTTP/1.1\r\nHost: a\r\n",
    "GET / HTTP/1.0\r\n",
    "HEAD /x HTTP/1.1\r\nHost: a\r\n",
    "GET http://a/b HTTP/1.1\r\nHost: a\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 ",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "101",
    "HTTP/1.1 200\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 1\r\n",
    "Content-Length: 0\r\n",
    "content-length:5\r\n",
    "Content-Length : 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:\tchunked \r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    "Upgrade: websocket\r\n",
    "X: y\r\n",
    "X: y\r\n z\r\n",
    "X : y\r\n",
    "Expect: 100-continue\r\n",
    "Trailer: v\r\n",
    "0\r\nT: v\r\n\r\n",
    "0\r\nt:\r\nContent-Length: 5\r\n\r\n",
    "0\r\nTransfer_Encoding: chunked\r\nT: HTTP/1.1 200 OK\r\n\r\n",
    "T: \u{e9}\r\n",
    "\0",
    "hello",
    "5\r\nhello\r\n",
    "5;x=\"y\"\r\nhello\r\n",
    "5 \r\nhello\r\n",
];

/// Bytes made of pieces, or of seeds with pieces put in, from a seed for the draws.
fn made(draws: u64, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(draws);
    let mut bytes =
        if random.bool() { random.choice(seeds).unwrap().1.clone() } else { Vec::new() };
    for _ in 0..random.usize(1..8) {
        let piece = random.choice(PIECES).unwrap().as_bytes();
        match random.u8(..8) {
            0 if !bytes.is_empty() => {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            1 if !bytes.is_empty() => {
                let at = random.usize(..bytes.len());
                bytes.truncate(at);
            }
            2 | 3 => {
                let at = random.usize(..=bytes.len());
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => bytes.extend_from_slice(piece),
        }
    }
    bytes
}

/// Holds a law on the seeds and on what is made of them.
fn hold(target: &str, check: fn(&[u8]) -> usize) {
    let mut taken = 0;
    let seeds = seeds(target);
    for (name, bytes) in &seeds {
        println!("{name}");
        check(bytes);
    }
    for draws in 0..ROUNDS {
        let bytes = made(draws, &seeds);
        println!("{draws}: {}", bytes.escape_ascii());
        taken += check(&bytes);
    }
    // If nothing were ever taken, nothing would ever be compared.
    assert!(taken as u64 > ROUNDS / 10, "only {taken} of {ROUNDS} were taken");
}

#[test]
fn requests_are_read_as_hyper_reads_them_or_refused() {
    hold("requests", requests::check);
}

#[test]
fn answers_are_read_as_hyper_reads_them_or_refused() {
    hold("answers", answers::check);
}
