//! `error_page`, and the page of maintenance.

use std::collections::BTreeMap;

use toml::Value;

use super::{
    document::{Section, table},
    guard,
    parser::Directive,
    scope::{Context, Scope},
    server::Server,
};
use crate::model::policy::error_page::STATUSES;

/// How many `error_page` a place may have.
const PAGES_MAX: usize = 100;

/// Writes the error pages of a place. Returns the page for 503, if there is one.
pub fn pages(
    context: &Context<'_>,
    server: &Server<'_>,
    scope: &Scope<'_>,
    section: &mut Section,
) -> Option<String> {
    let ledger = context.ledger;
    let mut pages: BTreeMap<String, Value> = BTreeMap::new();
    let mut places: Vec<String> = Vec::new();
    let mut closed = None;
    for directive in scope.nearest("error_page").into_iter().take(PAGES_MAX) {
        let Some((target, codes)) = directive.args.split_last() else { continue };
        let Some(file) = file(context, server, target) else {
            ledger
                .left(directive, "lbd's error pages are files, and this is none that can be found");
            continue;
        };
        let changes = codes.iter().any(|code| code.starts_with('='));
        let own = |code: &&String| code.parse().is_ok_and(|code: u16| STATUSES.contains(&code));
        let others: Vec<&str> =
            codes.iter().filter(|c| !own(c) && !c.starts_with('=')).map(String::as_str).collect();
        if !others.is_empty() {
            let why = format!("lbd has no answers of its own with {}", others.join(", "));
            ledger.left(directive, why);
        }
        if !codes.iter().any(|code| own(&code)) {
            continue;
        }
        for code in codes.iter().filter(own) {
            pages.insert(code.clone(), file.as_str().into());
            if code == "503" {
                closed = Some(file.clone());
            }
        }
        places.push(directive.at.to_string());
        match changes {
            true => ledger.differs(directive, "the status stays as it is"),
            false => ledger
                .differs(directive, "for lbd's own answers; those of endpoints pass as they are"),
        }
    }
    if !pages.is_empty() {
        section.set_because("error_pages", table(pages), places.join(", "));
    }
    closed
}

/// The file that a path inside the server, or a named location, stands for.
fn file(context: &Context<'_>, server: &Server<'_>, target: &str) -> Option<String> {
    if target.contains(['$', ' ']) || target.contains("://") {
        return None;
    }
    let locations = || server.directive.all("location");
    let place = match target.starts_with('@') {
        true => Some(locations().find(|location| location.arg(0) == target)?),
        false => {
            let exact =
                locations().find(|location| location.arg(0) == "=" && location.arg(1) == target);
            exact.or_else(|| locations().find(|location| location.arg(0) == target))
        }
    };
    let name = match place.filter(|_| target.starts_with('@')) {
        Some(named) => named_file(context, named)?,
        None => target.to_owned(),
    };
    let scope = place.map(|location| server.scope.inside(&[location.inside()]));
    let scope = scope.as_ref().unwrap_or(&server.scope);
    let root = scope.one("root")?;
    context.ledger.carry(root);
    if let Some(location) = place {
        context.ledger.carry(location);
        for name in ["internal", "try_files"] {
            location
                .all(name)
                .for_each(|d| context.ledger.unneeded(d, "the page is read with the file"));
        }
    }
    Some(context.path(&format!(
        "{}/{}",
        root.arg(0).trim_end_matches('/'),
        name.trim_start_matches('/')
    )))
}

fn named_file(context: &Context<'_>, named: &Directive) -> Option<String> {
    let rewrite = named.all("rewrite").next().inspect(|rewrite| context.ledger.carry(rewrite));
    let tried = || named.all("try_files").next().map(|tried| tried.arg(0));
    let name = rewrite.map(|rewrite| rewrite.arg(1)).or_else(tried)?;
    (!name.contains('$')).then(|| name.to_owned())
}

/// Says of conditions that close the site that `lbctl maintenance` does so.
pub fn maintenance(context: &Context<'_>, block: &Directive) -> bool {
    let mut found = false;
    for condition in block.all("if") {
        if guard::is_maintenance(condition) {
            let why =
                "`lbctl maintenance on` answers 503 with the page, and --allow lets people pass";
            context.ledger.unneeded(condition, why);
            found = true;
        }
    }
    found
}
