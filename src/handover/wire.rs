//! Messages with open descriptors, over a pair of sockets.
//!
//! A message is its length in four bytes, then JSON. Descriptors travel with the length. Everything
//! here waits, for a bounded time: it is for threads that have nothing else to do.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};

/// How many descriptors a message has at most; Linux takes no more.
pub const DESCRIPTORS_MAX: usize = 253;
/// How long a message may be, in bytes.
const LENGTH_MAX: usize = 1 << 30;

/// One end of the pair.
#[derive(Debug)]
pub struct Wire(UnixStream);

impl Wire {
    /// The wire over one end.
    pub fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// The end itself.
    pub fn into_inner(self) -> UnixStream {
        self.0
    }

    /// Sends a message with descriptors, [`DESCRIPTORS_MAX`] at most, within `patience`.
    ///
    /// # Errors
    ///
    /// If the other side is gone, or does not take it.
    pub fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?.to_be_bytes();
        self.0.set_write_timeout(Some(patience))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let slices = [IoSlice::new(&length)];
        let sent = sendmsg(&self.0, &slices, &mut control, SendFlags::NOSIGNAL)?;
        (&self.0).write_all(length.get(sent..).unwrap_or_default())?;
        (&self.0).write_all(&text)
    }

    /// Waits for a message, `patience` at most, or for as long as it takes.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the other side is gone, `WouldBlock` if it says nothing in time, `InvalidData`
    /// if it is not understood.
    pub fn receive<T: DeserializeOwned>(
        &self,
        patience: Option<Duration>,
    ) -> io::Result<(T, Vec<OwnedFd>)> {
        self.0.set_read_timeout(patience)?;
        let (length, descriptors) = self.receive_length()?;
        if length > LENGTH_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
        }
        let mut text = vec![0; length];
        (&self.0).read_exact(&mut text)?;
        let message = serde_json::from_slice(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((message, descriptors))
    }

    fn receive_length(&self) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut length = [0; 4];
        let mut slices = [IoSliceMut::new(&mut length)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match recvmsg(&self.0, &mut slices, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                received => break received?.bytes,
            }
        };
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        (&self.0).read_exact(length.get_mut(received..).unwrap_or_default())?;
        Ok((u32::from_be_bytes(length) as usize, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Wire, Wire) {
        let (one, other) = UnixStream::pair().unwrap();
        (Wire::new(one), Wire::new(other))
    }

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (one, other) = pair();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "hello").unwrap();
        let files: Vec<File> = (0..DESCRIPTORS_MAX).map(|_| File::open(&path).unwrap()).collect();
        let many: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        one.send(&"many", &many, SOON).unwrap();
        one.send(&"none", &[], SOON).unwrap();
        one.send(&"two", &many[1..3], SOON).unwrap();
        for (text, count) in [("many", DESCRIPTORS_MAX), ("none", 0), ("two", 2)] {
            let (said, descriptors) = other.receive::<String>(Some(SOON)).unwrap();
            assert_eq!((said.as_str(), descriptors.len()), (text, count));
            for descriptor in descriptors.into_iter().take(1) {
                let mut content = String::new();
                File::from(descriptor).read_to_string(&mut content).unwrap();
                assert_eq!(content, "hello");
            }
        }
    }

    #[test]
    fn a_message_larger_than_the_sockets_buffer_arrives_whole() {
        let (one, other) = pair();
        let text = "x".repeat(5 << 20);
        let sending = std::thread::spawn({
            let text = text.clone();
            move || one.send(&text, &[], SOON)
        });
        assert_eq!(other.receive::<String>(Some(SOON)).unwrap().0, text);
        sending.join().unwrap().unwrap();
    }

    #[test]
    fn silence_absence_and_nonsense_are_told_apart() {
        let (one, other) = pair();
        let soon = Some(Duration::from_millis(10));
        let kind = |result: io::Result<(String, _)>| result.unwrap_err().kind();
        assert_eq!(kind(other.receive(soon)), io::ErrorKind::WouldBlock);
        one.send(&7, &[], SOON).unwrap();
        assert_eq!(kind(other.receive(soon)), io::ErrorKind::InvalidData);
        drop(one);
        assert_eq!(kind(other.receive(soon)), io::ErrorKind::UnexpectedEof);
    }
}
