//! Which directives hold in a place: its own, or those of the nearest block around it.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{ledger::Ledger, parser::Directive, upstream::Group, value};

/// How much may be looked at in all, in directives, hosts and endpoints: what is inherited is looked at
/// once for each location, and nobody's file comes near to this.
const WORK_MAX: usize = 800_000;

/// The directives of one block by name, and their number.
#[derive(Clone)]
struct Level<'a>(Rc<BTreeMap<&'a str, Vec<&'a Directive>>>, usize);

/// A place with the blocks around it.
#[derive(Clone, Default)]
pub struct Scope<'a>(Vec<Level<'a>>);

impl<'a> Scope<'a> {
    /// The place inside a block that lies here.
    pub fn inside(&self, blocks: &[&'a [Directive]]) -> Self {
        let mut named: BTreeMap<&str, Vec<&Directive>> = BTreeMap::new();
        for directive in blocks.iter().copied().flatten() {
            named.entry(directive.name.as_str()).or_default().push(directive);
        }
        let mut levels = self.0.clone();
        let size = blocks.iter().map(|block| block.len()).sum();
        levels.push(Level(Rc::new(named), size));
        Self(levels)
    }

    /// The directives of this name in the block itself.
    pub fn own(&self, name: &str) -> Vec<&'a Directive> {
        self.0.last().and_then(|level| level.0.get(name)).cloned().unwrap_or_default()
    }

    /// The directives of this name that hold here: those of the nearest block that has any.
    pub fn nearest(&self, name: &str) -> Vec<&'a Directive> {
        self.nearest_of(&[name])
    }

    /// The directives of these names in the nearest block that has any of them, in their order.
    pub fn nearest_of(&self, names: &[&str]) -> Vec<&'a Directive> {
        let has = |level: &&Level<'a>| names.iter().any(|name| level.0.contains_key(name));
        let Some(level) = self.0.iter().rev().find(has) else { return Vec::new() };
        let mut found: Vec<&Directive> =
            names.iter().filter_map(|name| level.0.get(name)).flatten().copied().collect();
        found.sort_by_key(|directive| directive.id);
        found
    }

    /// The directive of this name that holds here, where there can only be one.
    pub fn one(&self, name: &str) -> Option<&'a Directive> {
        self.nearest(name).last().copied()
    }

    /// How many directives there are in these blocks.
    pub fn size(&self) -> usize {
        self.0.iter().map(|level| level.1).sum()
    }

    /// The names of the directives of all these blocks.
    pub fn names(&self) -> BTreeSet<&'a str> {
        self.0.iter().flat_map(|level| level.0.keys().copied()).collect()
    }

    /// The directives of this name in every block, the outermost first.
    pub fn everywhere(&self, name: &str) -> Vec<&'a Directive> {
        self.0.iter().filter_map(|level| level.0.get(name)).flatten().copied().collect()
    }
}

/// What the parts of the import share.
pub struct Context<'a> {
    /// What became of each directive.
    pub ledger: &'a Ledger,
    /// The place of servers.
    pub http: Scope<'a>,
    /// Where relative paths start.
    folder: PathBuf,
    upstreams: BTreeMap<&'a str, &'a Directive>,
    mentioned: BTreeSet<&'a str>,
    groups: RefCell<BTreeMap<String, Rc<Group>>>,
    work_left: Cell<usize>,
}

impl<'a> Context<'a> {
    /// The context of a file in `folder` with these directives.
    pub fn new(directives: &'a [Directive], folder: &Path, ledger: &'a Ledger) -> Self {
        let https = directives.iter().filter(|directive| directive.name == "http");
        let mut blocks = vec![directives];
        blocks.extend(https.inspect(|http| ledger.carry(http)).map(Directive::inside));
        let http = Scope::default().inside(&blocks);
        let upstreams: BTreeMap<&str, &Directive> =
            http.own("upstream").into_iter().map(|upstream| (upstream.arg(0), upstream)).collect();
        let mut mentioned = BTreeSet::new();
        mention(directives, &mut mentioned);
        Self {
            ledger,
            http,
            folder: folder.to_owned(),
            upstreams,
            mentioned,
            groups: RefCell::default(),
            work_left: Cell::new(WORK_MAX),
        }
    }

    /// The upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<&'a Directive> {
        self.upstreams.get(name).copied()
    }

    /// The upstream that has `green` in its name where this one has `blue`, or the other way round, if
    /// no other directive uses it: it waits for its turn.
    pub fn waiting_twin(&self, name: &str) -> Option<&'a str> {
        let twin = match name.contains("blue") {
            true => name.replace("blue", "green"),
            false => name.replace("green", "blue"),
        };
        let (twin, _) = self.upstreams.get_key_value(twin.as_str())?;
        (*twin != name && !self.mentioned.contains(twin)).then_some(*twin)
    }

    /// A path as lbd finds it: relative ones start at nginx's folder.
    pub fn path(&self, path: &str) -> String {
        self.folder.join(path).display().to_string()
    }

    /// Whether so much more may be looked at or written.
    pub fn may(&self, work: usize) -> bool {
        let left = self.work_left.get().checked_sub(work);
        self.work_left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// The group of an upstream, which is read once.
    pub fn group(&self, upstream: &Directive, read: impl FnOnce() -> Group) -> Rc<Group> {
        if let Some(known) = self.groups.borrow().get(upstream.arg(0)) {
            return known.clone();
        }
        let group = Rc::new(read());
        self.groups.borrow_mut().insert(upstream.arg(0).to_owned(), group.clone());
        group
    }
}

/// Collects the upstream names that directives may mean.
fn mention<'a>(directives: &'a [Directive], found: &mut BTreeSet<&'a str>) {
    for directive in directives {
        for arg in &directive.args {
            let authority = arg.split_once("://").map_or(arg.as_str(), |(_, rest)| rest);
            if directive.name != "upstream" {
                found.insert(authority.split('/').next().unwrap_or(authority));
            }
        }
        mention(directive.inside(), found);
    }
}

/// Takes a span of time into lbd's limits and writes it as lbd does. `None` if it is no span.
pub fn span_within(text: &str, longest_secs: u64) -> Option<(String, bool)> {
    use crate::model::Millis;
    let typed = value::span(text)?;
    let within = typed.clamp(Millis(10), Millis::from_secs(longest_secs));
    Some((within.to_string(), within == typed))
}
