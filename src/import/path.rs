//! The paths of a `location`: prefixes, exact paths, and regular expressions that are lists of prefixes.

use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::parser::Directive;

/// How many paths a regular expression may stand for.
const PATHS_MAX: usize = 16;

/// The path that a location has been given.
pub fn path_of(location: &Directive) -> &str {
    match location.arg(0) {
        "=" | "^~" | "~" | "~*" => location.arg(1),
        path => path,
    }
}

/// The prefixes of a location, and in what they differ from what nginx meant.
pub fn paths(
    location: &Directive,
    twins: &[&str],
) -> Result<(Vec<String>, Option<String>), String> {
    let path = path_of(location);
    if location.name == "server" {
        return Ok((vec!["/".into()], None));
    }
    match location.arg(0) {
        "~" | "~*" => {
            let found = prefixes(path).ok_or("lbd knows paths by their beginning only")?;
            let mut difference = format!("as the prefix {}", found.join(", "));
            if location.arg(0) == "~*" {
                difference.push_str(", in these letters");
            }
            Ok((found, Some(difference)))
        }
        kind => {
            let good = path.starts_with('/')
                && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
            if !good {
                return Err("lbd's paths are as clients send them, in ASCII".into());
            }
            let bare = path.strip_suffix('/').filter(|bare| !bare.is_empty());
            match bare {
                _ if kind == "=" && path == "/" => {
                    Err("lbd cannot tell / from what is below it".into())
                }
                _ if kind == "=" => {
                    Ok((vec![path.into()], Some(format!("what is below {path} is meant too"))))
                }
                Some(bare) if !twins.contains(&bare) => {
                    let why = format!("{bare} itself is meant too; nginx redirected it to {path}");
                    Ok((vec![bare.into()], Some(why)))
                }
                Some(_) => Ok((vec![path.into()], None)),
                None if path == "/" => Ok((vec![path.into()], None)),
                None => {
                    let why = format!("whole segments: {path} and {path}/…, but not {path}x");
                    Ok((vec![path.into()], Some(why)))
                }
            }
        }
    }
}

/// The prefixes that mean all that a regular expression does; `None` if it may mean more.
pub fn exact(location: &Directive) -> Option<Vec<String>> {
    let pattern = location.arg(1);
    let whole = ["/", "(/.*)?$", "(/|$)", "$"].iter().any(|end| pattern.ends_with(end))
        && !pattern.ends_with(".*$")
        && !pattern.ends_with("(.*)$");
    (location.arg(0) == "~" && whole).then(|| prefixes(pattern)).flatten()
}

/// What every path begins with that a regular expression means, in small letters; perhaps nothing.
pub fn literal_start(location: &Directive) -> String {
    let pattern = location.arg(1);
    let Some(rest) = pattern.strip_prefix('^').filter(|rest| !rest.contains('|')) else {
        return String::new();
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    let end = rest.find(|c| !plain(c)).unwrap_or(rest.len());
    let (start, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    // What comes next may mean that the last letter need not be there.
    let start = match after.starts_with(['?', '*', '{']) {
        true => start.get(..start.len().saturating_sub(1)).unwrap_or_default(),
        false => start,
    };
    start.to_ascii_lowercase()
}

/// Whether a location means one path only, for which lbd has a prefix.
pub fn is_one_path(location: &Directive) -> bool {
    let pattern = location.arg(1);
    let ends = ["(/.*)?$", "(/|$)", "(.*)$", ".*$"];
    match location.arg(0) {
        "=" => true,
        "~" | "~*" => pattern.ends_with('$') && !ends.iter().any(|end| pattern.ends_with(end)),
        _ => false,
    }
}

/// The prefixes that a regular expression stands for, if it stands for nothing else.
fn prefixes(pattern: &str) -> Option<Vec<String>> {
    let rest = pattern.strip_prefix('^')?;
    let ends = ["(/.*)?$", "(/|$)", "(.*)$", ".*$", "(.*)", ".*", "$"];
    let rest = ends.iter().find_map(|end| rest.strip_suffix(end)).unwrap_or(rest);
    let hir = regex_syntax::parse(rest).ok()?;
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_total(PATHS_MAX).limit_class(4);
    let found = extractor.extract(&hir);
    if !found.is_exact() {
        return None;
    }
    let texts =
        found.literals()?.iter().map(|literal| String::from_utf8(literal.as_bytes().to_vec()).ok());
    let texts: Vec<String> = texts.collect::<Option<_>>()?;
    let good = |path: &&String| {
        path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
    };
    let mut paths: Vec<String> = Vec::new();
    for text in &texts {
        let path =
            text.strip_suffix('/').filter(|bare| !bare.is_empty()).unwrap_or(text).to_owned();
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    (!paths.is_empty() && paths.iter().filter(good).count() == paths.len()).then_some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_that_is_a_list_of_prefixes_is_one() {
        for (pattern, expected) in [
            ("^/track/(open|click)/", Some(&["/track/open", "/track/click"][..])),
            ("^/api/", Some(&["/api"])),
            ("^/api(/.*)?$", Some(&["/api"])),
            ("^/v[12]/", Some(&["/v1", "/v2"])),
            (r"\.php$", None),
            ("^/[a-z]+/", None),
            ("^/(?!x)", None),
            ("^", None),
        ] {
            let expected =
                expected.map(|list| list.iter().map(|s| s.to_string()).collect::<Vec<_>>());
            assert_eq!(prefixes(pattern), expected, "{pattern}");
        }
    }
}
