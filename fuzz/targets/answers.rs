//! What hyper's client refuses in an endpoint's bytes, or frames otherwise, lbd refuses as well; and what it
//! sends on is unambiguous.
#![no_main]

#[path = "../../tests/differential/answers.rs"]
mod answers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    answers::check(bytes);
});
