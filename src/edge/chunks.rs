//! Where a chunked body ends, judged strictly (RFC 9112, section 7.1).
//!
//! Only the framing is followed; the bytes go on as they are, but for extensions and what trailers must
//! not say. CRLF ends every line, sizes are plain hexadecimal digits, and trailers are bounded.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes are bounded by the bytes' own length")
)]

use super::trailers::{Trailers, is_of_name};

/// The longest chunk-size line or trailer section, in bytes.
const LINE_MAX: u32 = 8 * 1024;

/// The longest chunk size, in digits: what more means, not everyone reads alike.
const DIGITS_MAX: u8 = 16;

/// Follows the framing of one chunked body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chunks {
    at: At,
    line: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    /// In the size: what was read of it, and how many digits that was.
    Size(u64, u8),
    /// In the blanks between the size and an extension.
    Blank(u64),
    /// In a chunk extension.
    Extension(u64),
    /// At the LF that ends the size line.
    SizeEnd(u64),
    /// In data, so many bytes to go.
    Data(u64),
    /// At the CR, then LF, behind the data.
    DataCr,
    DataLf,
    /// At the start of a trailer, in its name, in its value, at its LF; at the last LF.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

/// Bytes that are no chunked body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// How far [`Chunks::clean`] came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cleaned {
    /// Bytes that belonged to the body.
    pub taken: usize,
    /// How many of them are left.
    pub kept: usize,
    /// How many of those are data.
    pub data: usize,
}

impl At {
    /// Whether the byte that led here from `before` belongs to a trailer.
    fn is_of_trailer(self, before: Self) -> bool {
        match self {
            Self::TrailerName | Self::TrailerValue | Self::TrailerLf => true,
            Self::Trailer => before == Self::TrailerLf,
            _ => false,
        }
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size(0, 0), line: 0 }
    }
}

impl Chunks {
    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.at == At::End
    }

    /// Follows `bytes` and returns how many of them belong to this body.
    ///
    /// # Errors
    ///
    /// [`Malformed`] at the first byte that breaks the framing.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut done = 0;
        while done < bytes.len() && self.at != At::End {
            if let At::Data(left) = self.at {
                let step = left.min((bytes.len() - done) as u64);
                done += step as usize;
                self.at = if step == left { At::DataCr } else { At::Data(left - step) };
            } else {
                self.at = self.next(bytes[done])?;
                done += 1;
            }
        }
        Ok(done)
    }

    /// The same, and takes out chunk extensions, which are between neighbours: what is left of the bytes is
    /// moved to their front. Trailers go to `trailers`; if there are any at the end of the body, they and
    /// the line that ends them are still to be written ([`Trailers::write`]).
    ///
    /// # Errors
    ///
    /// [`Malformed`] at the first byte that breaks the framing.
    pub fn clean(
        &mut self,
        bytes: &mut [u8],
        trailers: &mut Trailers,
    ) -> Result<Cleaned, Malformed> {
        let mut cleaned = Cleaned::default();
        while cleaned.taken < bytes.len() && self.at != At::End {
            let from = cleaned.taken;
            let (before, step) = self.follow_piece(&bytes[from..])?;
            cleaned.taken += step;
            if matches!(before, At::Data(_)) {
                cleaned.data += step;
            }
            match self.at {
                At::Blank(_) | At::Extension(_) => continue,
                at if at.is_of_trailer(before) => {
                    trailers.push(bytes[from]);
                    continue;
                }
                // The last line comes behind them.
                At::LastLf | At::End if !trailers.is_empty() => continue,
                _ => {}
            }
            if cleaned.kept < from {
                bytes.copy_within(from..from + step, cleaned.kept);
            }
            cleaned.kept += step;
        }
        Ok(cleaned)
    }

    /// The same, and leaves nothing but data; trailers go to `trailers`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] at the first byte that breaks the framing.
    pub fn bare(
        &mut self,
        bytes: &mut [u8],
        trailers: &mut Trailers,
    ) -> Result<Cleaned, Malformed> {
        let mut cleaned = Cleaned::default();
        while cleaned.taken < bytes.len() && self.at != At::End {
            let from = cleaned.taken;
            let (before, step) = self.follow_piece(&bytes[from..])?;
            cleaned.taken += step;
            match self.at {
                _ if matches!(before, At::Data(_)) => {
                    bytes.copy_within(from..from + step, cleaned.kept);
                    cleaned.kept += step;
                }
                at if at.is_of_trailer(before) => trailers.push(bytes[from]),
                _ => {}
            }
        }
        cleaned.data = cleaned.kept;
        Ok(cleaned)
    }

    /// Follows data as far as it goes, or one byte of what is around it. Returns what was expected there, and
    /// how many bytes that were.
    fn follow_piece(&mut self, bytes: &[u8]) -> Result<(At, usize), Malformed> {
        let before = self.at;
        let most = match before {
            At::Data(left) => usize::try_from(left).unwrap_or(usize::MAX),
            _ => 1,
        };
        let length = self.follow(&bytes[..bytes.len().min(most)])?;
        Ok((before, length))
    }

    fn next(&mut self, byte: u8) -> Result<At, Malformed> {
        self.line += 1;
        if self.line > LINE_MAX {
            return Err(Malformed);
        }
        Ok(match (self.at, byte) {
            (At::Size(size, digits @ ..DIGITS_MAX), digit) if digit.is_ascii_hexdigit() => {
                let digit = u64::from((digit as char).to_digit(16).unwrap_or_default());
                if size >> 59 != 0 {
                    return Err(Malformed);
                }
                At::Size(size * 16 + digit, digits + 1)
            }
            (At::Size(size, 1..) | At::Extension(size), b'\r') => At::SizeEnd(size),
            (At::Size(size, 1..) | At::Blank(size), b' ' | b'\t') => At::Blank(size),
            (At::Size(size, 1..) | At::Blank(size), b';') => At::Extension(size),
            (At::Extension(size), b'\t' | b' '..=b'~' | 128..) => At::Extension(size),
            (At::SizeEnd(0), b'\n') => At::Trailer,
            (At::SizeEnd(size), b'\n') => {
                self.line = 0;
                At::Data(size)
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size(0, 0),
            (At::Trailer, b'\r') => At::LastLf,
            (At::Trailer | At::TrailerName, byte) if is_of_name(byte) => At::TrailerName,
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\t' | b' '..=b'~' | 128..) => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLf,
            (At::TrailerLf, b'\n') => At::Trailer,
            (At::LastLf, b'\n') => At::End,
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = b"5\r\nhello\r\nA \t; x=\"y\"\r\n0123456789\r\n0\r\nT: v\r\n\r\n";

    #[test]
    fn the_end_is_found_and_what_follows_is_left() {
        let mut chunks = Chunks::default();
        let with_more = [BODY, b"GET / HTTP/1.1"].concat();
        assert_eq!(chunks.follow(&with_more), Ok(BODY.len()));
        assert!(chunks.is_done());
        assert_eq!(chunks.follow(b"more"), Ok(0));
    }

    #[test]
    fn what_is_between_neighbours_is_taken_out() {
        let plain = b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n";
        assert_eq!(cleaned(&[BODY]), (plain.to_vec(), 15));
        let bytes: Vec<&[u8]> = BODY.chunks(1).collect();
        assert_eq!(cleaned(&bytes), (plain.to_vec(), 15));
    }

    /// What goes on of a body that comes in these pieces, and how much of it is data.
    fn cleaned(pieces: &[&[u8]]) -> (Vec<u8>, usize) {
        let (mut chunks, mut trailers) = (Chunks::default(), Trailers::default());
        let (mut left, mut all_data) = (BytesMut::new(), 0);
        for piece in pieces {
            let mut piece = piece.to_vec();
            let Cleaned { taken, kept, data } = chunks.clean(&mut piece, &mut trailers).unwrap();
            assert_eq!(taken, piece.len());
            all_data += data;
            left.extend_from_slice(&piece[..kept]);
        }
        assert!(chunks.is_done());
        if !trailers.is_empty() {
            trailers.write(&mut left);
        }
        (left.to_vec(), all_data)
    }

    #[test]
    fn trailers_are_bounded_all_together() {
        let (mut chunks, mut trailers) = (Chunks::default(), Trailers::default());
        let mut endless = format!("0\r\n{}", "T: v\r\n".repeat(2000)).into_bytes();
        assert_eq!(chunks.clean(&mut endless, &mut trailers), Err(Malformed));
        assert!(trailers.fields().count() < 2000);
    }

    #[test]
    fn trailers_that_do_not_go_on_leave_a_sound_end() {
        let body = b"1\r\nx\r\n0\r\nContent-Length: 5\r\nhost:b\r\n\r\n";
        let plain = (b"1\r\nx\r\n0\r\n\r\n".to_vec(), 1);
        for size in 1..=body.len() {
            assert_eq!(cleaned(&body.chunks(size).collect::<Vec<_>>()), plain, "{size}");
        }
    }

    #[test]
    fn data_can_be_had_without_its_framing() {
        for size in [1, 7, BODY.len()] {
            let (mut chunks, mut left) = (Chunks::default(), Vec::new());
            let mut trailers = Trailers::default();
            for piece in BODY.chunks(size) {
                let mut piece = piece.to_vec();
                let Cleaned { taken, kept, data } = chunks.bare(&mut piece, &mut trailers).unwrap();
                assert_eq!((taken, kept), (piece.len(), data));
                left.extend_from_slice(&piece[..kept]);
            }
            assert!(chunks.is_done());
            assert_eq!(left, b"hello0123456789", "pieces of {size}");
            let fields: Vec<_> = trailers.fields().collect();
            assert_eq!(fields, [(&b"T"[..], &b"v"[..])], "pieces of {size}");
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for bad in [
            "\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "x\r\n",
            " 5\r\n",
            "5 \r\n",
            "-1\r\n",
            "0x5\r\n",
            "5\rX",
            "0\r\n\n",
            "0\r\nT\n",
            "0\r\nT\r\n\r\n",
            "0\r\nT : v\r\n\r\n",
            "0\r\n: v\r\n\r\n",
            "0\r\nT: v\r\n w\r\n\r\n",
            "0\r\nT: v\0\r\n\r\n",
            "5;\0\r\n",
            "ffffffffffffffffff\r\n",
            "00000000000000005\r\n",
        ] {
            assert_eq!(Chunks::default().follow(bad.as_bytes()), Err(Malformed), "{bad:?}");
        }
        let endless = format!("5;{}", "x".repeat(9000));
        assert_eq!(Chunks::default().follow(endless.as_bytes()), Err(Malformed));
    }

    proptest! {
        /// However the bytes arrive, the end is the same.
        #[test]
        fn arrival_does_not_matter(cuts in prop::collection::vec(0usize..BODY.len(), 0..6)) {
            let mut cuts = [cuts, vec![0, BODY.len()]].concat();
            cuts.sort_unstable();
            let mut chunks = Chunks::default();
            for pair in cuts.windows(2) {
                let part = &BODY[pair[0]..pair[1]];
                prop_assert_eq!(chunks.follow(part), Ok(part.len()));
            }
            prop_assert!(chunks.is_done());
        }

        /// However a body with trailers arrives, what goes on is the same, is a body itself, and goes on
        /// as it is at the next proxy.
        #[test]
        fn trailers_arrive_in_any_pieces(
            fields in prop::collection::vec(("[A-Za-z_-]{1,12}|content[-_]length|TE", "[ -~]{0,9}"), 0..5),
            cuts in prop::collection::vec(0usize..200, 0..6),
        ) {
            let lines: String = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
            let body = format!("3;x\r\nabc\r\n0;y\r\n{lines}\r\n").into_bytes();
            let cuts = cuts.into_iter().map(|cut| cut.min(body.len()));
            let mut cuts: Vec<_> = cuts.chain([0, body.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
            let (left, data) = cleaned(&pieces);
            prop_assert_eq!(data, 3);
            prop_assert_eq!(&left, &cleaned(&[&body]).0);
            prop_assert_eq!(&cleaned(&[&left]).0, &left);
            let text = String::from_utf8(left).unwrap().to_ascii_lowercase();
            prop_assert!(!text.contains("content-length") && !text.contains("content_length"));
        }
    }
}
