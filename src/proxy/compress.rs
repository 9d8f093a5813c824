//! Compresses responses on their way to clients who can read it.
//!
//! pingora's own compressor is not used: it knows no quality values, holds pieces of a stream back until
//! there are enough of them, and leaves Brotli streams without an end.

use std::{
    fmt,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::model::policy::encoding::{Algorithm, Body, Compression, weakened};

/// How hard each tries: what takes a few milliseconds for a megabyte of text.
const GZIP_LEVEL: u32 = 5;
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Brotli's window as a power of two, and its buffer in bytes.
const BROTLI_WINDOW: u32 = 19;
const BROTLI_BUFFER: usize = 4096;

/// Values that are true of the plain body only (RFC 9530).
const DIGESTS: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];

/// A response that is being compressed.
pub struct Encoder {
    inner: Inner,
    /// Whether each piece must reach the client at once: nobody knows when the next one comes.
    is_stream: bool,
}

enum Inner {
    /// It is not `Sync`, which pingora asks for; the lock is never taken.
    Zstd(Mutex<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
    Over,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("is_stream", &self.is_stream).finish_non_exhaustive()
    }
}

/// Changes the head of a response that is to be compressed; the encoder of its body, if it has one.
///
/// # Errors
///
/// If a value cannot be put into a header, which these always can.
pub fn begin(
    asked: &RequestHeader,
    response: &mut ResponseHeader,
    compression: &Compression,
) -> Result<Option<Box<Encoder>>> {
    if response.status == StatusCode::NOT_MODIFIED {
        return unchanged(asked, response).map(|()| None);
    }
    let length = text(&response.headers, &header::CONTENT_LENGTH).parse().ok();
    let is_wanted = {
        let headers = &response.headers;
        let is_special = [header::CONTENT_RANGE, header::TRAILER, header::UPGRADE]
            .iter()
            .any(|name| headers.contains_key(name));
        compression.wants(&Body {
            status: response.status.as_u16(),
            media: &text(headers, &header::CONTENT_TYPE),
            length,
            encoding: &text(headers, &header::CONTENT_ENCODING),
            cache_control: &text(headers, &header::CACHE_CONTROL),
            is_special,
        })
    };
    if !is_wanted {
        return Ok(None);
    }
    vary(response)?;
    let accept = text(&asked.headers, &header::ACCEPT_ENCODING);
    let Some(algorithm) = compression.choose(&accept) else { return Ok(None) };
    response.insert_header(header::CONTENT_ENCODING, algorithm.name())?;
    if let Some(tag) = response.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) {
        match weakened(tag) {
            Some(weak) => response.insert_header(header::ETAG, weak)?,
            None if tag.starts_with("W/") => {}
            // It is no entity tag, and says nothing of this form.
            None => drop(response.remove_header(&header::ETAG)),
        }
    }
    response.remove_header(&header::CONTENT_LENGTH);
    response.remove_header(&header::ACCEPT_RANGES);
    for name in DIGESTS {
        response.remove_header(name);
    }
    if asked.method == Method::HEAD {
        // The head is that of the answer to GET.
        return Ok(None);
    }
    response.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    Encoder::new(algorithm, length.is_none()).map(|encoder| Some(Box::new(encoder))).map_err(broken)
}

/// Who holds a compressed form is told that this one is unchanged: under the tag of the plain form, parts
/// of both could be put together (RFC 9110, section 15.4.5).
fn unchanged(asked: &RequestHeader, response: &mut ResponseHeader) -> Result<()> {
    let weak = weakened(&text(&response.headers, &header::ETAG));
    let held = text(&asked.headers, &header::IF_NONE_MATCH);
    match weak.filter(|weak| held.contains(weak)) {
        Some(weak) => {
            response.insert_header(header::ETAG, weak)?;
            vary(response)
        }
        None => Ok(()),
    }
}

/// All values of a header as one text.
fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    values.join(", ")
}

/// Tells caches that the answer depends on what the client can read.
fn vary(response: &mut ResponseHeader) -> Result<()> {
    let vary = text(&response.headers, &header::VARY);
    let is_said = |name: &str| name == "*" || name.eq_ignore_ascii_case("accept-encoding");
    if !vary.split(',').map(str::trim).any(is_said) {
        response.append_header(header::VARY, HeaderValue::from_static("Accept-Encoding"))?;
    }
    Ok(())
}

fn broken(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::InternalError, "compressing", error)
}

impl Encoder {
    /// An encoder; `is_stream`: the length of the body is not known.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn new(algorithm: Algorithm, is_stream: bool) -> io::Result<Self> {
        let inner = match algorithm {
            Algorithm::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                Inner::Zstd(Mutex::new(encoder))
            }
            Algorithm::Br => Inner::Brotli(Box::new(CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI_LEVEL,
                BROTLI_WINDOW,
            ))),
            Algorithm::Gzip => {
                Inner::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL)))
            }
        };
        Ok(Self { inner, is_stream })
    }

    /// The next piece of the body, and whether it is the last: what the client gets now. An empty piece
    /// would end the body, so there is none then.
    ///
    /// # Errors
    ///
    /// If the encoder fails.
    pub fn encode(&mut self, piece: Option<&Bytes>, end: bool) -> Result<Option<Bytes>> {
        let piece = piece.map_or(&[][..], |piece| piece.as_ref());
        let flush = self.is_stream && !piece.is_empty();
        let output = if end { self.finish(piece) } else { self.inner.write(piece, flush) };
        let output = output.map_err(broken)?;
        Ok((!output.is_empty()).then(|| output.into()))
    }

    fn finish(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        let mut output = self.inner.write(piece, false)?;
        let rest = match std::mem::replace(&mut self.inner, Inner::Over) {
            Inner::Zstd(encoder) => {
                encoder.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?
            }
            Inner::Brotli(encoder) => encoder.into_inner(),
            Inner::Gzip(encoder) => encoder.finish()?,
            Inner::Over => Vec::new(),
        };
        output.extend(rest);
        Ok(output)
    }
}

impl Inner {
    fn write(&mut self, piece: &[u8], flush: bool) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => {
                let encoder = encoder.get_mut().unwrap_or_else(PoisonError::into_inner);
                put(encoder, piece, flush)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Brotli(encoder) => {
                put(encoder, piece, flush)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Gzip(encoder) => {
                put(encoder, piece, flush)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Over => Ok(Vec::new()),
        }
    }
}

fn put(to: &mut impl Write, piece: &[u8], flush: bool) -> io::Result<()> {
    to.write_all(piece)?;
    if flush { to.flush() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn plain(algorithm: Algorithm, compressed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        match algorithm {
            Algorithm::Zstd => {
                zstd::stream::read::Decoder::new(compressed)?.read_to_end(&mut plain)
            }
            Algorithm::Br => {
                brotli::Decompressor::new(compressed, BROTLI_BUFFER).read_to_end(&mut plain)
            }
            Algorithm::Gzip => flate2::read::GzDecoder::new(compressed).read_to_end(&mut plain),
        }
        .map(|_| plain)
    }

    #[test]
    fn what_is_compressed_is_read_back_whole_and_ended() {
        let body = "all work and no play ".repeat(9000);
        for (_, algorithm) in Algorithm::ALL {
            for is_stream in [false, true] {
                let mut encoder = Encoder::new(algorithm, is_stream).unwrap();
                let mut compressed = Vec::new();
                for piece in body.as_bytes().chunks(10_000) {
                    let piece = Bytes::copy_from_slice(piece);
                    let output = encoder.encode(Some(&piece), false).unwrap();
                    assert!(!is_stream || output.is_some(), "a stream is not held back");
                    compressed.extend(output.unwrap_or_default());
                }
                compressed.extend(encoder.encode(None, true).unwrap().unwrap());
                assert!(compressed.len() < body.len() / 10, "{algorithm:?}");
                assert_eq!(plain(algorithm, &compressed).unwrap(), body.as_bytes());
                compressed.truncate(compressed.len() - 1);
                assert!(plain(algorithm, &compressed).is_err(), "{algorithm:?} has no end");
                assert_eq!(encoder.encode(None, true).unwrap(), None);
            }
        }
    }
}
