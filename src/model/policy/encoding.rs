//! Which responses are compressed, and how: content codings (RFC 9110, sections 8.4 and 12.5.3).

use serde::Serialize;

/// Which responses of a service are compressed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compression {
    /// How; the first is preferred among those that a client likes equally.
    pub algorithms: Vec<Algorithm>,
    /// Which media types: `type/subtype`, or `type/*`; lower case.
    pub types: Vec<Box<str>>,
    /// The shortest body that is worth it, in bytes, where the length is known.
    pub min_bytes: u64,
}

/// A way to compress.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// gzip (RFC 1952).
    Gzip,
}

impl Algorithm {
    /// Every way with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("zstd", Self::Zstd), ("br", Self::Br), ("gzip", Self::Gzip)];

    /// Its name as `Content-Encoding` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// The head of a response, as far as compression goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Body<'a> {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub media: &'a str,
    /// `Content-Length` in bytes, if it is known.
    pub length: Option<u64>,
    /// `Content-Encoding`.
    pub encoding: &'a str,
    /// `Cache-Control`.
    pub cache_control: &'a str,
    /// Whether it is a part of something (`Content-Range`), or ends with trailers.
    pub is_special: bool,
}

impl Compression {
    /// Whether a response is compressed for clients who can read it.
    pub fn wants(&self, body: &Body<'_>) -> bool {
        let is_plain = body.encoding.is_empty() || body.encoding.eq_ignore_ascii_case("identity");
        let may_be_changed = || {
            let mut words = body.cache_control.split(',').map(str::trim);
            !words.any(|word| word.eq_ignore_ascii_case("no-transform"))
        };
        !matches!(body.status, 0..200 | 204 | 205 | 206 | 304)
            && is_plain
            && !body.is_special
            && body.length.is_none_or(|length| length >= self.min_bytes.max(1))
            && self.has_type(body.media)
            && may_be_changed()
    }

    fn has_type(&self, media: &str) -> bool {
        let media = media.split(';').next().unwrap_or_default().trim();
        let kind = |text: &str| text.split('/').next().unwrap_or_default().to_ascii_lowercase();
        self.types.iter().any(|wanted| match wanted.strip_suffix("/*") {
            Some(wanted) => media.contains('/') && kind(media) == wanted,
            None => media.eq_ignore_ascii_case(wanted),
        })
    }

    /// What a client with this `Accept-Encoding` gets: what it likes best, and among equals what stands
    /// first in the config; `None`: the body as it is.
    pub fn choose(&self, accept: &str) -> Option<Algorithm> {
        let accepted = Accepted::of(accept);
        let mut best: Option<(u16, Algorithm)> = None;
        for algorithm in &self.algorithms {
            let quality = accepted.quality(algorithm.name());
            if quality > best.map_or(0, |(best, _)| best) {
                best = Some((quality, *algorithm));
            }
        }
        let plain = accepted.named("identity").unwrap_or(0);
        best.filter(|(quality, _)| *quality >= plain).map(|(_, algorithm)| algorithm)
    }
}

/// An `Accept-Encoding`: codings with their quality in thousandths.
struct Accepted<'a>(Vec<(&'a str, u16)>);

impl<'a> Accepted<'a> {
    fn of(accept: &'a str) -> Self {
        let item = |item: &'a str| {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().filter(|name| !name.is_empty())?;
            let weight = parts.find_map(|part| part.strip_prefix(['q', 'Q']));
            let quality = match weight {
                Some(weight) => thousandths(weight.trim_start().strip_prefix('=')?.trim())?,
                None => 1000,
            };
            Some((name, quality))
        };
        Self(accept.split(',').filter_map(item).collect())
    }

    fn named(&self, name: &str) -> Option<u16> {
        let is_it = |known: &str| {
            known.eq_ignore_ascii_case(name)
                // The old name of the same (RFC 9110, section 8.4.1.3).
                || (name == "gzip" && known.eq_ignore_ascii_case("x-gzip"))
        };
        self.0.iter().find(|(known, _)| is_it(known)).map(|(_, quality)| *quality)
    }

    fn quality(&self, name: &str) -> u16 {
        self.named(name).or_else(|| self.named("*")).unwrap_or(0)
    }
}

/// A quality from 0 to 1 with up to three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let decimals: u16 = format!("{decimals:0<3}").parse().ok().filter(|_| is_digits)?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

/// The entity tag of a compressed response: its bytes differ from the plain one's, so it is a weak one.
pub fn weakened(tag: &str) -> Option<String> {
    (tag.starts_with('"')).then(|| format!("W/{tag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compression() -> Compression {
        Compression {
            algorithms: vec![Algorithm::Zstd, Algorithm::Br, Algorithm::Gzip],
            types: vec!["text/*".into(), "application/json".into()],
            min_bytes: 100,
        }
    }

    #[test]
    fn what_the_client_likes_best_and_then_what_we_do() {
        let choose = |accept| compression().choose(accept).map_or("-", Algorithm::name);
        for (accept, chosen) in [
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, deflate, br", "br"),
            ("GZip", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip;q=1.0, br;q=0.5", "gzip"),
            ("gzip;q=0", "-"),
            ("*", "zstd"),
            ("*, zstd;q=0", "br"),
            ("*;q=0.5, gzip ; Q = 0.7", "gzip"),
            ("identity", "-"),
            ("identity;q=1, gzip;q=0.5", "-"),
            ("identity;q=0.5, gzip;q=0.5", "gzip"),
            ("gzip;q=2, br;q=x, zstd;q=0.1234", "-"),
            ("", "-"),
            ("deflate", "-"),
            (",,;q=1,", "-"),
        ] {
            assert_eq!(choose(accept), chosen, "{accept}");
        }
    }

    #[test]
    fn only_plain_whole_bodies_of_the_right_type_and_size_are_compressed() {
        let body = Body { status: 200, media: "text/html; charset=utf-8", ..Body::default() };
        let wants = |body: Body<'_>| compression().wants(&body);
        assert!(wants(body));
        assert!(wants(Body { status: 404, ..body }));
        assert!(wants(Body { media: "Application/JSON", ..body }));
        assert!(wants(Body { encoding: "identity", ..body }));
        assert!(wants(Body { length: Some(100), ..body }));
        for body in [
            Body { length: Some(99), ..body },
            Body { media: "image/png", ..body },
            Body { media: "", ..body },
            Body { media: "text", ..body },
            Body { media: "application/json5", ..body },
            Body { encoding: "gzip", ..body },
            Body { cache_control: "public, No-Transform", ..body },
            Body { is_special: true, ..body },
            Body { status: 101, ..body },
            Body { status: 204, ..body },
            Body { status: 206, ..body },
            Body { status: 304, ..body },
        ] {
            assert!(!wants(body), "{body:?}");
        }
    }

    #[test]
    fn a_strong_tag_becomes_weak() {
        assert_eq!(weakened("\"a\"").as_deref(), Some("W/\"a\""));
        assert_eq!(weakened("W/\"a\""), None);
    }
}
