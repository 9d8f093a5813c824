//! `compression`.

use super::super::{
    reader::Value,
    values::{size, word},
};
use crate::model::policy::encoding::{Algorithm, Compression};

const MIN_BYTES: usize = 1 << 10;
/// What compresses well and is not compressed already.
const TYPES: [&str; 8] = [
    "text/*",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/manifest+json",
    "application/problem+json",
    "application/wasm",
    "image/svg+xml",
];

/// Reads which responses are compressed, and how.
pub(super) fn compression(value: &Value<'_>) -> Option<Compression> {
    let mut section = value.section("{ algorithms = [\"zstd\", \"br\", \"gzip\"] }")?;
    let all = Algorithm::ALL.map(|(_, algorithm)| algorithm).to_vec();
    let algorithms = section.or("algorithms", all, |value| {
        let list = value.list("a list, as in [\"br\", \"gzip\"]", word(&Algorithm::ALL))?;
        let is_twice = |(n, one): (usize, &Algorithm)| list.iter().skip(n + 1).any(|x| x == one);
        if list.is_empty() || list.iter().enumerate().any(is_twice) {
            return value
                .problem("is empty or has one twice; write each once, or leave the key out");
        }
        Some(list)
    });
    let types = section.or("types", TYPES.map(Into::into).to_vec(), |value| {
        value.list("a list, as in [\"text/*\", \"application/json\"]", media)
    });
    let min_bytes = section.or("min_bytes", MIN_BYTES, size(0..=1 << 30));
    section.finish();
    Some(Compression { algorithms, types, min_bytes: min_bytes as u64 })
}

/// `type/subtype` or `type/*`, in lower case.
fn media(value: &Value<'_>) -> Option<Box<str>> {
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let is_media = |text: &&str| {
        let parts = text.split_once('/');
        parts.is_some_and(|(kind, sub)| is_token(kind) && is_token(sub) && !kind.contains('*'))
    };
    let typed = value.text().filter(is_media).map(|text| text.to_ascii_lowercase().into());
    typed.or_else(|| {
        value.is_not("a media type", "TYPE/SUBTYPE or TYPE/*, as in \"text/html\" or \"text/*\"")
    })
}

#[cfg(test)]
mod tests {
    use super::{super::super::reader::read_one, *};

    #[test]
    fn everything_has_a_default() {
        let all = read_one("{}", compression).unwrap();
        assert_eq!((all.algorithms.len(), all.types.len(), all.min_bytes), (3, 8, 1024));
        let text = "{ algorithms = ['gzip'], types = ['Text/HTML'], min_bytes = 0 }";
        let one = read_one(text, compression).unwrap();
        assert_eq!((one.algorithms, &*one.types[0]), (vec![Algorithm::Gzip], "text/html"));
        for text in [
            "{ algorithms = [] }",
            "{ algorithms = ['gzip', 'gzip'] }",
            "{ algorithms = ['deflate'] }",
            "{ types = ['text'] }",
            "{ types = ['*/*'] }",
            "{ types = ['text/html; charset=utf-8'] }",
            "true",
        ] {
            assert!(read_one(text, compression).unwrap_err().contains("; write "), "{text}");
        }
    }
}
