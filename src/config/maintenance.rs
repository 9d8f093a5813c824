//! `[maintenance]`, with the template of its page.

use std::{path::PathBuf, sync::Arc};

use super::{
    Read,
    places::{file_content, network},
    reader::{Section, Value},
    values::{Limits, span, text},
};
use crate::model::{Millis, settings::MaintenanceDefaults};

const RETRY_LIMITS: Limits = (Millis::from_secs(1), Millis::from_secs(24 * 3600));
/// Longest message in bytes.
const MESSAGE_MAX: usize = 4096;
const MESSAGE: &str = "We are carrying out maintenance and will be back shortly.";

/// Reads `[maintenance]`; `read` reads the template.
pub(super) fn maintenance(mut section: Section<'_>, read: Read<'_>) -> MaintenanceDefaults {
    let networks = "a list of networks, as in [\"10.0.0.0/8\"]";
    let page = section.take("page").and_then(|value| template(&value, read));
    let (page, template) = page.unzip();
    let message = section.optional("message", text(MESSAGE_MAX));
    let maintenance = MaintenanceDefaults {
        page,
        template,
        message: message.map_or_else(|| MESSAGE.into(), Into::into),
        retry_after: section.or("retry_after", Millis::from_secs(60), span(RETRY_LIMITS)),
        allow: section.list("allow", networks, network).unwrap_or_default(),
    };
    section.finish();
    maintenance
}

fn template(value: &Value<'_>, read: Read<'_>) -> Option<(PathBuf, Arc<str>)> {
    let write = "write the path of an HTML file that lbd may read";
    let (path, text) = file_content(value, read, write)?;
    // Better refused now than found broken when the page is needed. Values are filled in later.
    if let Err(error) = minijinja::Environment::new().template_from_str(&text) {
        let line = error.line().map_or_else(String::new, |line| format!(" at its line {line}"));
        return value.problem(format!(
            "{} is not a template: {}{line}; correct it, or leave page out for a plain page",
            value.shown(),
            error.detail().unwrap_or("syntax error"),
        ));
    }
    Some((path, text.into()))
}
