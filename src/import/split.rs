//! Who goes where: `split_clients`, `map` and `set` before a `proxy_pass`, and upstreams that hold two
//! releases.

use std::rc::Rc;

use super::{
    parser::Directive,
    scope::{Context, Scope},
    upstream::{Group, Manner, Pool, group, pool_names},
    value::{self, Part},
};
use crate::model::Share;

/// How many pools a service may get.
const POOLS_MAX: usize = 100;
/// How many variables may stand for each other.
const DEPTH_MAX: usize = 4;

/// Targets with their percentages; one without takes the rest.
#[derive(Default)]
pub struct Choice {
    /// The targets, as nginx names them.
    pub options: Vec<(String, Option<String>)>,
    /// Where lbd reads the user id.
    pub user_id: Option<String>,
    /// Comments for the service.
    pub comments: Vec<String>,
}

/// What the variable of a `proxy_pass` can be; `None` if lbd cannot know.
pub fn choice(context: &Context<'_>, scope: &Scope<'_>, variable: &str) -> Option<Choice> {
    resolve(context, scope, variable, 0)
}

fn resolve(
    context: &Context<'_>,
    scope: &Scope<'_>,
    variable: &str,
    depth: usize,
) -> Option<Choice> {
    if depth > DEPTH_MAX {
        return None;
    }
    let is_it = |text: &str| value::variable(text).is_some_and(|name| name == variable);
    let sets = scope.everywhere("set");
    if let Some(set) = sets.iter().rev().find(|set| is_it(set.arg(0))) {
        context.ledger.carry(set);
        return of_value(context, scope, set.arg(1), depth);
    }
    let splits = context.http.own("split_clients");
    if let Some(split) = splits.iter().find(|split| is_it(split.arg(1))) {
        return of_split(context, split);
    }
    let maps = context.http.own("map");
    let map = maps.iter().find(|map| is_it(map.arg(1)))?;
    of_map(context, scope, map, depth)
}

fn of_value(context: &Context<'_>, scope: &Scope<'_>, text: &str, depth: usize) -> Option<Choice> {
    match value::variable(text) {
        Some(name) => resolve(context, scope, &name, depth + 1),
        None if text.contains('$') || text.is_empty() => None,
        None => Some(fixed(context, text)),
    }
}

/// A target with `set` variables in it, as in `app_$colour`, with their values in their place.
pub fn substituted(context: &Context<'_>, scope: &Scope<'_>, target: &str) -> Option<String> {
    let mut text = String::new();
    for part in value::parts(target) {
        match part {
            Part::Text(plain) => text.push_str(&plain),
            Part::Variable(name) => {
                let choice = resolve(context, scope, &name, 0)?;
                let [(value, None)] = choice.options.as_slice() else { return None };
                text.push_str(value);
            }
        }
    }
    Some(text)
}

/// The one target that there is, with the one that waits for its turn.
pub fn fixed(context: &Context<'_>, target: &str) -> Choice {
    let mut options = vec![(target.to_owned(), None)];
    let bare = target.split_once("://").map_or(target, |(_, rest)| rest);
    if let Some(twin) = context.waiting_twin(bare) {
        options.push((twin.to_owned(), Some("0%".into())));
    }
    Choice { options, ..Choice::default() }
}

fn of_split(context: &Context<'_>, split: &Directive) -> Option<Choice> {
    let mut choice = Choice::default();
    if split.inside().len() > POOLS_MAX {
        return None;
    }
    for row in split.inside() {
        let percent = match row.name.as_str() {
            "*" => None,
            text => Some(text.parse::<Share>().ok()?.to_string()),
        };
        let target = row.arg(0).to_owned();
        if target.is_empty() || target.contains('$') {
            return None;
        }
        if choice.options.iter().any(|(known, _)| *known == target) {
            return None;
        }
        context.ledger.carry(row);
        choice.options.push((target, percent));
    }
    context.ledger.differs(
        split,
        "the percentages stay, and so does everybody's side from now on, but lbd's hash puts other \
         users first",
    );
    let parts = value::parts(split.arg(0));
    let mut ids = parts.iter().filter_map(|part| match part {
        Part::Variable(name) => value::id_source(name),
        Part::Text(_) => None,
    });
    choice.user_id = ids.next();
    if choice.user_id.is_none() {
        context.ledger.differs(
            split,
            "lbd has no user id in this text and draws; name one in user_id to keep users on a side",
        );
    }
    choice.comments.push(format!("Divided as by split_clients, {}.", split.at));
    Some(choice)
}

fn of_map(
    context: &Context<'_>,
    scope: &Scope<'_>,
    map: &Directive,
    depth: usize,
) -> Option<Choice> {
    let source = value::variable(map.arg(0))?;
    let by_user = ["cookie_", "http_", "arg_"].iter().any(|prefix| source.starts_with(prefix));
    let by_host = matches!(source.as_str(), "http_host" | "http_upgrade");
    if !by_user || by_host || map.inside().len() > POOLS_MAX {
        return None;
    }
    let default = map.inside().iter().find(|row| row.name == "default")?;
    let mut choice = of_value(context, scope, default.arg(0), depth)?;
    context.ledger.carry(map);
    context.ledger.carry(default);
    for row in map.inside().iter().filter(|row| row.id != default.id) {
        if let Some(inner) = value::variable(row.arg(0)) {
            context.ledger.left(row, format!("lbd cannot tell what ${inner} is here"));
            continue;
        }
        let target = row.arg(0).to_owned();
        if !choice.options.iter().any(|(known, _)| *known == target) {
            choice.options.push((target.clone(), Some("0%".into())));
        }
        let why = format!(
            "the pool for {target} is there; who may choose it is said by `pin`, whose cookie or \
             header has the value POOL:SECRET"
        );
        context.ledger.differs(row, why);
    }
    choice.comments.push(format!(
        "{}: ${source} chose the pool. To let testers choose, take the # away and invent a secret:",
        map.at
    ));
    let name = source.split_once('_').map_or("", |(_, name)| name).replace('_', "-");
    choice
        .comments
        .push(format!("pin = {{ name = \"{}\", secret = \"...\" }}", value::name(&name)));
    Some(choice)
}

/// A choice as lbd has it.
pub struct Divided {
    /// Its pools.
    pub pools: Vec<Pool>,
    /// The baseline, if it has to be said.
    pub baseline: Option<String>,
    /// What is the same for all of them.
    pub manner: Manner,
}

/// The pools of a choice; `None` if a target is no upstream and no address.
pub fn pools(context: &Context<'_>, choice: &Choice, port: u16, by: &Directive) -> Option<Divided> {
    let strip = |target: &str| {
        let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
        rest.split('/').next().filter(|_| !rest.starts_with("unix:")).unwrap_or(rest).to_owned()
    };
    let targets: Vec<String> = choice.options.iter().map(|(target, _)| strip(target)).collect();
    let groups: Vec<Rc<Group>> =
        targets.iter().map(|target| group(context, target, port, by)).collect::<Option<_>>()?;
    let count = groups.iter().map(|group| group.main.len() + group.backup.len()).sum();
    if !context.may(count) {
        return None;
    }
    let manner = Manner::of(context, &groups, by);
    if let ([only], [target]) = (groups.as_slice(), targets.as_slice()) {
        let (pools, baseline) = single(only, target);
        return Some(Divided { pools, baseline, manner });
    }
    let names = pool_names(&targets);
    let mut pools = Vec::new();
    for ((name, group), (_, weight)) in names.iter().zip(&groups).zip(&choice.options) {
        pools.push(pool(name, group, group.main.clone(), weight.clone()));
        pools.extend(backup(&format!("{name}-backup"), group));
    }
    let baseline = baseline(&pools);
    // The one that takes the rest first, as people read it.
    pools.sort_by_key(|pool| pool.weight.is_some());
    Some(Divided { pools, baseline, manner })
}

fn pool(name: &str, group: &Group, endpoints: Vec<(String, u64)>, weight: Option<String>) -> Pool {
    let mut comments = vec![format!("From {}", group.from)];
    comments.extend(group.comments.iter().cloned());
    Pool { name: name.into(), endpoints, weight, comments }
}

/// Backup servers are a pool with no traffic that steps in when the others cannot.
fn backup(name: &str, group: &Group) -> Option<Pool> {
    let zero = Some("0%".into());
    (!group.backup.is_empty()).then(|| pool(name, group, group.backup.clone(), zero))
}

/// The pools of one upstream: two, if each of its servers is named blue or green.
fn single(group: &Group, target: &str) -> (Vec<Pool>, Option<String>) {
    let of = |colour: &str| {
        let is = |(address, _): &&(String, u64)| address.to_ascii_lowercase().contains(colour);
        group.main.iter().filter(is).cloned().collect::<Vec<_>>()
    };
    let (blue, green) = (of("blue"), of("green"));
    let divided = !blue.is_empty() && !green.is_empty();
    if divided && blue.len() + green.len() == group.main.len() {
        let sum = |endpoints: &[(String, u64)]| endpoints.iter().map(|(_, w)| *w).sum::<u64>();
        let points = sum(&green) * 10_000 / (sum(&blue) + sum(&green)).max(1);
        let share = Share::from_basis_points(u16::try_from(points).unwrap_or(0)).to_string();
        let (blue, green) = (reduced(blue), reduced(green));
        let mut pools =
            vec![pool("blue", group, blue, None), pool("green", group, green, Some(share))];
        pools.extend(backup("backup", group));
        let baseline = baseline(&pools);
        return (pools, baseline);
    }
    let name = pool_names(&[target.to_owned()]);
    let known = |name: &&String| matches!(name.as_str(), "green" | "canary" | "stable");
    let name = name.iter().find(known).map_or("blue", String::as_str);
    let mut pools = vec![pool(name, group, group.main.clone(), None)];
    pools.extend(backup("backup", group));
    (pools, None)
}

/// Weights that only matter between the endpoints of one pool.
fn reduced(endpoints: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let same =
        endpoints.iter().all(|(_, weight)| endpoints.first().is_some_and(|(_, w)| w == weight));
    endpoints
        .into_iter()
        .map(|(address, weight)| (address, if same { 1 } else { weight }))
        .collect()
}

/// The pool with the most traffic, where more than one has any.
fn baseline(pools: &[Pool]) -> Option<String> {
    let points = |pool: &Pool| {
        let share = pool.weight.as_ref().and_then(|weight| weight.parse::<Share>().ok());
        share.map(Share::basis_points)
    };
    let said: u16 = pools.iter().filter_map(points).fold(0, u16::saturating_add);
    let share = |pool: &Pool| points(pool).unwrap_or_else(|| 10_000_u16.saturating_sub(said));
    let weighted = pools.iter().filter(|pool| share(pool) > 0).count();
    // Of equals the first.
    let most = pools.iter().rev().max_by_key(|pool| share(pool))?;
    (weighted != 1).then(|| most.name.clone())
}
