//! What keeps clients out of a place in nginx, and what of it lbd has no word for.

use std::collections::BTreeSet;

use super::{
    document::Section,
    ledger,
    parser::Directive,
    policy::Door,
    scope::{Context, Scope},
};

/// What guards a place. A place with all the guards of another is at least as closed as that.
pub type Guards = BTreeSet<String>;

/// What guards this place.
pub fn guards(scope: &Scope<'_>) -> Guards {
    let mut guards: Guards =
        unspoken(scope).into_iter().map(|(directive, _)| ledger::shown(directive)).collect();
    let rules = scope.nearest_of(&["allow", "deny"]);
    if rules.iter().any(|rule| rule.name == "deny") {
        guards.insert(rules.into_iter().map(ledger::shown).collect::<Vec<_>>().join(";"));
    }
    for (switch, file) in
        [("auth_basic", "auth_basic_user_file"), ("ssl_verify_client", "ssl_client_certificate")]
    {
        if let Some(on) = scope.one(switch).filter(|on| on.arg(0) != "off") {
            let of = scope.one(file).map_or("", |file| file.arg(0));
            guards.insert(format!("{} {of}", ledger::shown(on)));
        }
    }
    let own = ["internal", "return"].map(|name| scope.own(name));
    let own = own.iter().flatten().filter(|own| own.name == "internal" || refuses(own));
    guards.extend(own.map(|own| own.name.clone()));
    guards
}

/// Shuts the door where nginx asks somebody whom lbd cannot ask.
pub fn shut(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) -> Door {
    let mut door = Door::AsTold;
    for (directive, lacks) in unspoken(scope) {
        let why = format!(
            "{lacks}, so that this service refuses everybody: take its `deny` away if the \
             application checks by itself"
        );
        context.ledger.left(directive, why);
        section.comment(format!(
            "{}: lbd has no {}. Closed, until you take `deny` away.",
            directive.at, directive.name
        ));
        door = Door::Shut;
    }
    door
}

/// Whether a `return` refuses.
pub fn refuses(answer: &Directive) -> bool {
    answer.name == "return" && answer.arg(0).len() == 3 && answer.arg(0).starts_with(['4', '5'])
}

/// Whether a condition is a file that closes the site: `lbctl maintenance` does so.
pub fn is_maintenance(condition: &Directive) -> bool {
    let asked = condition.args.concat();
    let file = ["(-f", "(!-f", "(-e", "(!-e"].iter().any(|start| asked.starts_with(start));
    file && condition.all("return").any(|answer| answer.arg(0) == "503")
}

/// The guards that lbd has no word for, with what it lacks.
fn unspoken<'a>(scope: &Scope<'a>) -> Vec<(&'a Directive, &'static str)> {
    let mut found = Vec::new();
    for name in scope.names().into_iter().filter(|name| is_question(name)) {
        let asks = scope.one(name).filter(|asks| asks.arg(0) != "off");
        found.extend(asks.map(|asks| (asks, "lbd does not ask for leave")));
    }
    if let Some(realm) = scope.one("auth_basic").filter(|realm| realm.arg(0) != "off") {
        let file = scope.one("auth_basic_user_file");
        let known = file.is_some_and(|file| !file.arg(0).contains('$') && !file.arg(0).is_empty());
        if !known || realm.arg(0).contains('$') {
            found.push((realm, "there is no auth_basic_user_file that lbd could read"));
        }
    }
    let limited = |limit: &&Directive| {
        limit.inside().iter().any(|inner| inner.name != "allow" || inner.arg(0) != "all")
    };
    let methods = scope.nearest("limit_except").into_iter().filter(limited);
    found.extend(methods.map(|limit| (limit, "lbd does not tell methods apart")));
    let closing = scope.everywhere("if").into_iter().filter(|condition| closes(condition));
    found.extend(closing.map(|condition| (condition, "lbd has no conditions")));
    found
}

/// Whether a directive of this name asks whether a client may come.
fn is_question(name: &str) -> bool {
    const QUESTIONS: [&str; 17] = [
        "auth_request",
        "auth_jwt",
        "auth_digest",
        "auth_ldap",
        "auth_pam",
        "auth_gss",
        "auth_spnego",
        "auth_hash",
        "auth_oidc",
        "valid_referers",
        "secure_link",
        "secure_link_md5",
        "secure_link_secret",
        "ssl_crl",
        "ssl_ocsp",
        "modsecurity",
        "js_access",
    ];
    let scripted = ["access_by_", "rewrite_by_", "server_rewrite_by_"];
    QUESTIONS.contains(&name) || scripted.iter().any(|start| name.starts_with(start))
}

/// Whether a condition keeps somebody out: it refuses, or sends those away whom it does not know.
fn closes(condition: &Directive) -> bool {
    let who = ["$cookie_", "$http_authorization", "$remote_user", "$ssl_client", "$remote_addr"];
    let asked = condition.args.concat();
    let sends = || condition.inside().iter().any(|d| matches!(&*d.name, "return" | "rewrite"));
    let refuses = condition.all("return").any(refuses);
    !is_maintenance(condition) && (refuses || who.iter().any(|who| asked.contains(who)) && sends())
}
