//! Any text is a config or a list of mistakes, never a panic; and a config makes a model that decides.
#![no_main]

use std::{net::IpAddr, path::Path, sync::Arc};

use lbd::{
    config,
    model::{Draw, Facts, Model, Outcome, decide},
};
use libfuzzer_sys::fuzz_target;

const PAGE: &str = "<p>{{ message }}</p>";

fuzz_target!(|text: &str| {
    let read = |_: &Path| Ok(PAGE.to_owned());
    match config::check(text, &read) {
        Ok(settings) => {
            let snapshot = Model::new(Arc::new(settings), None).snapshot();
            let client = IpAddr::from([127, 0, 0, 1]);
            let headers: Vec<(&str, &str)> = Vec::new();
            let facts = Facts { host: "a", path: "/", query: "", client, headers: &headers };
            if let Outcome::Serve(service, placement) = decide(&snapshot, &facts, Draw(7)) {
                assert!(placement.pool < snapshot.services[service].pools.len());
            }
        }
        Err(problems) => {
            let shown = problems.to_string();
            assert!(!shown.is_empty(), "a config was refused without a reason");
        }
    }
});
