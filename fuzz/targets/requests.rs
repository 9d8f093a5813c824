//! What hyper's server refuses in a client's bytes, or cuts into other requests, lbd refuses as well.
#![no_main]

#[path = "../../tests/differential/requests.rs"]
mod requests;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    requests::check(bytes);
});
