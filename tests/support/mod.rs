//! What the integration tests share: a laboratory with the real binaries, real origins, real sockets.
//!
//! - [`Lab`] is a running `lbd` with its folder, driven by the real `lbctl` and by plain sockets.
//! - [`Origin`] is an application behind it: a hyper server whose behaviour can be changed at any time.
//! - [`Client`] is a browser: one keep-alive connection.
//!
//! Nothing listens on a fixed port, so tests run side by side. Waiting is done in [`eventually`] and
//! nowhere else: it is bounded, and says what was waited for.
#![allow(clippy::disallowed_methods, reason = "tests run in real time")]

mod broken;
pub mod collector;
pub mod h2;
mod http;
mod identity;
mod lab;
mod load;
mod origin;
mod outcome;
mod pebble;
mod pki;
mod plan;
mod receiver;
pub mod traffic;

use std::time::{Duration, Instant};

pub use broken::{Dead, Deaf, RawOrigin};
pub use collector::Collector;
pub use h2::Http2;
pub use http::{Answer, Client, Request};
pub use identity::{Authority, Identity};
pub use lab::Lab;
pub use load::{Load, predicted};
pub use origin::{Origin, Speech, hash};
pub use outcome::{Begun, Outcome};
pub use pebble::Pebble;
pub use pki::{Pki, Secured, ask, secured};
pub use plan::Plan;
pub use receiver::Receiver;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Waits until `look` finds something, [`PATIENCE`] at most.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match within(PATIENCE, look) {
        Some(found) => found,
        None => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Waits until `look` finds something, `patience` at most.
pub fn within<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// Does something so many times, spread evenly over a span of time.
pub fn paced(times: u32, span: Duration, mut act: impl FnMut(u32)) {
    let begun = Instant::now();
    for n in 0..times {
        let due = span.mul_f64(f64::from(n) / f64::from(times));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        act(n);
    }
}

/// How long `work` takes, and what it returns.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let result = work();
    (begun.elapsed(), result)
}

/// Whether a program is installed; prints a note if it is not.
pub fn installed(program: &str) -> bool {
    let there = std::process::Command::new(program)
        .arg(if program == "nginx" { "-v" } else { "--version" })
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        println!("note: {program} is not installed, this test is passed over");
    }
    there
}
