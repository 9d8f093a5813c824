//! The laws of the code's layout, held by reading the source.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file, without its tests.
struct Source {
    path: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
        let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        Source { path, code }
    };
    files.into_iter().map(read).filter(|s| !s.path.ends_with("tests.rs")).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Files under `folder` whose code lines contain one of `words`.
fn offenders(folder: &str, words: &[&str]) -> Vec<String> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let offends = |source: &Source| {
        source.code.lines().filter(is_code).any(|line| words.iter().any(|word| line.contains(word)))
    };
    let within = |source: &Source| source.path.starts_with(folder);
    sources().into_iter().filter(within).filter(offends).map(|s| s.path).collect()
}

#[test]
fn the_model_imports_nothing_of_ours_and_nothing_of_the_world() {
    let ours = ["api", "cli", "config", "control", "edge", "observe", "proxy", "tally", "view"];
    let ours: Vec<String> = ours.iter().map(|module| format!("crate::{module}")).collect();
    let world = ["tokio", "pingora", "tracing::", "std::fs", "std::env", "fastrand", "hyper"];
    let words: Vec<&str> = ours.iter().map(String::as_str).chain(world).collect();
    assert_eq!(offenders("src/model/", &words), [""; 0]);
}

#[test]
fn the_request_path_and_control_never_import_each_other() {
    let none = [""; 0];
    assert_eq!(offenders("src/control/", &["crate::proxy", "crate::edge"]), none);
    for folder in ["src/proxy/", "src/edge/", "src/tally/", "src/observe/"] {
        assert_eq!(offenders(folder, &["crate::control"]), none);
    }
}

#[test]
fn only_the_edge_and_the_request_path_name_pingora() {
    let named = offenders("src/", &["pingora_"]);
    let elsewhere: Vec<_> = named
        .iter()
        .filter(|p| !p.starts_with("src/edge/") && !p.starts_with("src/proxy/"))
        .collect();
    // The daemon only names it in its log filter.
    assert_eq!(elsewhere, ["src/bin/lbd/main.rs"]);
}

#[test]
fn files_are_short_and_nothing_is_left_open() {
    for Source { path, code } in sources() {
        let lines = code.lines().count();
        assert!(lines <= 500, "{path} has {lines} lines; split it by noun");
        for word in ["todo!", "unimplemented!", "FIXME", "dbg!", "allow(dead_code"] {
            assert!(!code.contains(word), "{path} contains {word}");
        }
    }
}

/// A file that main.rs does not name would never run.
#[test]
fn every_file_of_tests_is_part_of_their_binary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(topic) = name.strip_suffix(".rs").filter(|topic| *topic != "main") {
            assert!(main.contains(&format!("mod {topic};")), "tests/main.rs lacks {topic}");
        }
    }
}
