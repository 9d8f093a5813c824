//! Whatever a path holds, a rewritten path is one that a request can carry, a redirect goes where the rule
//! says and nowhere else, and a filled-in header is one header; whatever a rule holds, it is refused or
//! works.
#![no_main]

use std::sync::LazyLock;

use lbd::model::policy::{
    pattern::{Pattern, Replacement},
    rewrite::{Redirect, Rewrite, rewritten},
    template::Template,
};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};

fn rule(pattern: &str, to: &str) -> Option<(Pattern, Replacement)> {
    let pattern = Pattern::new(pattern).ok()?;
    let to = Replacement::new(to, &pattern).ok()?;
    Some((pattern, to))
}

fn redirect(pattern: &str, to: &str) -> Redirect {
    let (pattern, to) = rule(pattern, to).expect("the rule is right");
    Redirect { pattern, to, status: 302 }
}

static ABROAD: LazyLock<Redirect> = LazyLock::new(|| redirect("(?s)^(.*)$", "https://x.test/a/$1"));
static HERE: LazyLock<Redirect> = LazyLock::new(|| redirect("(?s)^/?(.*)$", "/$1"));

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    pattern: &'a str,
    to: &'a str,
    prefix: Option<&'a str>,
    path: &'a str,
    query: &'a str,
    template: &'a str,
    value: &'a str,
}

/// Whether a text can stand in a request line and in a header as an address.
fn is_sound(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte))
}

fuzz_target!(|input: Input<'_>| {
    let Input { pattern, to, prefix, path, query, template, value } = input;
    if let Some((pattern, to)) = rule(pattern, to) {
        let printed = Replacement::new(&to.to_string(), &pattern);
        assert_eq!(printed.as_ref(), Ok(&to), "it is another when it is read again");
        // The config takes only rules for paths that begin with a slash and have no query.
        if to.beginning().starts_with('/') && !to.to_string().contains('?') {
            let rules = [Rewrite { pattern, to }];
            if let Some(new) = rewritten(path, prefix, &rules)
                && path.starts_with('/')
            {
                assert!(new.starts_with('/') && is_sound(&new) && !new.contains('?'), "{new}");
            }
        }
    }
    if let Some(location) = ABROAD.location(path, query) {
        assert!(location.starts_with("https://x.test/a/") && is_sound(&location), "{location}");
    }
    if let Some(location) = HERE.location(path, query) {
        let is_here = location.starts_with('/') && !location.starts_with("//");
        assert!(is_here && is_sound(&location), "{location}");
    }
    if let Ok(template) = template.parse::<Template>() {
        let filled = template.fill(|_| value.into());
        assert!(filled.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{filled:?}");
        assert_eq!(template.to_string().parse().as_ref(), Ok(&template));
    }
});
