//! `access_log` of a service: `"off"`, `"stdout"`, a path, or a table with a format.

use super::{reader::Value, values::word};
use crate::model::settings::{AccessLog, LogFormat};

const FORMATS: &[(&str, LogFormat)] =
    &[("json", LogFormat::Json), ("combined", LogFormat::Combined)];

/// Reads where and how to log; `Some(None)` is off.
pub(super) fn access_log(value: &Value<'_>) -> Option<Option<AccessLog>> {
    if value.text() == Some("off") {
        return Some(None);
    }
    if !value.is_table() {
        let target = target(value)?;
        return Some(Some(AccessLog { target, format: LogFormat::default() }));
    }
    let mut section = value.section("{ target = \"stdout\", format = \"json\" }")?;
    let target = section.required("target", "\"stdout\"", target);
    let format = section.or("format", LogFormat::default(), word(FORMATS));
    section.finish();
    Some(Some(AccessLog { target: target?, format }))
}

fn target(value: &Value<'_>) -> Option<Box<str>> {
    let usable = |text: &&str| {
        *text == "stdout" || (text.starts_with('/') && !text.ends_with('/') && !text.contains('\0'))
    };
    value.text().filter(usable).map(Into::into).or_else(|| {
        let write = "\"stdout\", \"off\" or an absolute path, as in \"/var/log/lbd/access.log\"";
        value.is_not("a place to log to", write)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_one, *};

    #[test]
    fn the_log_is_off_or_has_a_target() {
        let read = |text| read_one(text, access_log);
        let log = |target: &str, format| Ok(Some(AccessLog { target: target.into(), format }));
        assert_eq!(read("'off'"), Ok(None));
        assert_eq!(read("'stdout'"), log("stdout", LogFormat::Json));
        assert_eq!(read("'/a.log'"), log("/a.log", LogFormat::Json));
        let table = "{ target = 'stdout', format = 'combined' }";
        assert_eq!(read(table), log("stdout", LogFormat::Combined));
        for text in
            ["'a.log'", "true", "{}", "{ target = 'x' }", "{ target = '/x', format = 'xml' }"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
