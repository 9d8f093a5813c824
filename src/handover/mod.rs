//! From one process to the next: how a running lbd hands over to the binary on disk.
//!
//! The one that runs starts the next with one end of a socket pair as its standard input, and offers
//! what it has: sockets and the lock of the state's folder ([`message::Offer`]). The next reads its
//! config, opens what is new, and says that it is [`message::Word::Prepared`]. Only then the first one
//! stops to change anything and sends what it knows; the next goes on with it, lets its workers
//! accept, and says that it is [`message::Word::Serving`]. With the answer to that everything is the
//! next one's: the guard, the admin socket, the disk. Up to there whatever goes wrong ends the next one
//! and leaves the first as it was.
//!
//! - [`origin`] is how the process itself was started, to start the next in the same way.
//! - [`successor`] is the one that runs, about the next; [`predecessor`] the other way round.
//! - [`activation`] takes sockets that systemd opened.

pub mod activation;
pub mod message;
pub mod origin;
pub mod predecessor;
pub mod successor;
pub mod wire;
