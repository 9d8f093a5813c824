//! Buffers that a worker lends to requests and gets back, so that a steady stream of requests
//! allocates nothing and an idle connection holds none.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

use bytes::BytesMut;

/// How large a buffer begins, in bytes.
pub const SIZE: usize = 32 * 1024;
/// A buffer that has grown beyond this is not kept.
const SIZE_MAX: usize = 4 * SIZE;
/// How many a worker keeps.
const KEPT_MAX: usize = 128;

thread_local! {
    static FREE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer.
pub fn take() -> BytesMut {
    let kept = FREE.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// Takes a buffer back. Parts of it must not be in use elsewhere.
pub fn give(mut buffer: BytesMut) {
    if buffer.capacity() == 0 {
        return;
    }
    buffer.clear();
    // What was read from its front is only counted again if the buffer is nobody else's.
    if !buffer.try_reclaim(SIZE) || buffer.capacity() > SIZE_MAX {
        return;
    }
    FREE.with_borrow_mut(|free| {
        if free.len() < KEPT_MAX {
            free.push(buffer);
        }
    });
}

/// A buffer that goes back by itself.
#[derive(Debug, Default)]
pub struct Lent(BytesMut);

impl Lent {
    /// The buffer, to be given back by somebody else.
    pub fn into_inner(mut self) -> BytesMut {
        std::mem::take(&mut self.0)
    }
}

impl From<BytesMut> for Lent {
    fn from(buffer: BytesMut) -> Self {
        Self(buffer)
    }
}

impl Deref for Lent {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.0
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn a_buffer_comes_back_whole_and_empty() {
        let mut buffer = take();
        let place = buffer.as_ptr();
        buffer.extend_from_slice(b"some bytes");
        buffer.advance(4);
        give(buffer);
        let again = take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert!(again.capacity() >= SIZE);
    }

    #[test]
    fn what_is_in_use_or_too_large_is_not_kept() {
        let kept = || FREE.with_borrow(Vec::len);
        give(BytesMut::new());
        give(BytesMut::with_capacity(2 * SIZE_MAX));
        let mut shared = BytesMut::with_capacity(SIZE);
        shared.extend_from_slice(b"some bytes");
        let part = shared.split_to(4);
        give(shared);
        assert_eq!(kept(), 0, "{part:?} is in use");
    }
}
