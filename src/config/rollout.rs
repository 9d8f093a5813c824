//! `[rollout.PLAN]`: staged shifts.

use std::collections::BTreeMap;

use super::{
    guard::REQUESTS_MAX,
    reader::{Section, Value},
    values::{Limits, share, span, whole, word},
};
use crate::model::{
    Millis, Share,
    rollout::{Advance, Plan, Requirement, Stage},
    units::PlanName,
};

/// The plan of a rollout that names none.
const DEFAULT: &str = "default";
const HOLD_LIMITS: Limits = (Millis(1), Millis::from_secs(7 * 24 * 3600));
const MAX_HOLD_LIMITS: Limits = (Millis(1), Millis::from_secs(30 * 24 * 3600));
const BAKE_LIMITS: Limits = (Millis(0), Millis::from_secs(30 * 24 * 3600));
const STAGES_MAX: usize = 100;
const STAGES: &str = "a list of percentages, as in [\"5%\", \"25%\", \"100%\"]";
const ADVANCE: &[(&str, Advance)] =
    &[("hold", Advance::Hold), ("evidence", Advance::Evidence), ("manual", Advance::Manual)];
const REQUIREMENTS: &[(&str, Requirement)] =
    &[("checks", Requirement::Checks), ("health", Requirement::Health)];

/// Reads all plans. `default` is always among them.
pub(super) fn plans(section: Section<'_>) -> BTreeMap<PlanName, Plan> {
    let named = section.named::<PlanName>().into_iter();
    let read = named.filter_map(|(name, value)| {
        let plan = plan(&value)?;
        Some((name?, plan))
    });
    let mut plans: BTreeMap<_, _> = read.collect();
    if let Ok(default) = DEFAULT.parse() {
        plans.entry(default).or_default();
    }
    plans
}

fn plan(value: &Value<'_>) -> Option<Plan> {
    let mut section = value.section("[rollout.PLAN] with stages = [\"5%\", \"25%\", \"100%\"]")?;
    let usual = Plan::default();
    let stages = section.or("stages", usual.stages, stages);
    let hold = section.or("hold", usual.hold, span(HOLD_LIMITS));
    let longest = stages.iter().filter_map(|stage| stage.hold).fold(hold, Millis::max);
    let plan = Plan {
        stages,
        hold,
        advance: section.or("advance", usual.advance, word(ADVANCE)),
        require: section.or("require", usual.require, requirements),
        max_hold: section.or("max_hold", usual.max_hold.max(longest), max_hold(longest)),
        bake: section.or("bake", usual.bake, span(BAKE_LIMITS)),
    };
    section.finish();
    Some(plan)
}

fn stages(value: &Value<'_>) -> Option<Vec<Stage>> {
    let Some(items) = value.items() else { return value.is_not("a list", STAGES) };
    match items.len() {
        0 => return value.problem("is empty; write the stages and end with \"100%\""),
        1..=STAGES_MAX => {}
        many => return value.problem(format!("has {many} stages; write at most {STAGES_MAX}")),
    }
    let mut before = Share::NONE;
    let read = items.iter().map(|item| {
        let stage = stage(item)?;
        if stage.share <= before {
            return item.problem(match before {
                Share::NONE => "0% is no traffic; write more for a stage".to_owned(),
                _ => format!(
                    "{} does not rise above the {before} before it; write shares that rise",
                    stage.share
                ),
            });
        }
        before = stage.share;
        Some(stage)
    });
    // Every stage is read before one that is wrong spoils the list.
    let read: Vec<Option<Stage>> = read.collect();
    if let (Some(item), Some(Some(last))) = (items.last(), read.last())
        && last.share != Share::WHOLE
    {
        return item.problem(format!("{} is not all the traffic; end with \"100%\"", last.share));
    }
    read.into_iter().collect()
}

fn stage(value: &Value<'_>) -> Option<Stage> {
    if !value.is_table() {
        return share(value).map(Stage::of);
    }
    let mut section = value.section("")?;
    let share = section.required("share", "\"5%\"", share);
    let hold = section.optional("hold", span(HOLD_LIMITS));
    let min_requests = section.optional("min_requests", whole(1..=REQUESTS_MAX));
    section.finish();
    Some(Stage { share: share?, hold, min_requests })
}

fn requirements(value: &Value<'_>) -> Option<Vec<Requirement>> {
    let list = value.list("a list, as in [\"checks\", \"health\"]", word(REQUIREMENTS))?;
    let twice = REQUIREMENTS
        .iter()
        .find(|(_, wanted)| list.iter().filter(|listed| *listed == wanted).count() > 1);
    match twice {
        Some((word, _)) => value.problem(format!("lists \"{word}\" twice; write it once")),
        None => Some(list),
    }
}

/// At least as long as the `longest` hold: a stage would pause before it could pass.
fn max_hold(longest: Millis) -> impl Fn(&Value<'_>) -> Option<Millis> {
    move |value| {
        let typed = span(MAX_HOLD_LIMITS)(value)?;
        if typed >= longest {
            return Some(typed);
        }
        value.problem(format!(
            "{} is shorter than the hold of {longest}; write at least {longest}, or a shorter hold",
            value.shown()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_one, *};

    fn read(text: &str) -> Result<Plan, String> {
        read_one(&format!("{{ {text} }}"), plan)
    }

    fn hours(hours: u64) -> Millis {
        Millis::from_secs(hours * 3600)
    }

    #[test]
    fn every_key_is_read() {
        let text = "stages = [1, { share = '50%', hold = '2h', min_requests = 500 }, '100%'], \
                    hold = '1m', advance = 'evidence', require = ['health'], max_hold = '3h', \
                    bake = '0s'";
        let share = Share::from_basis_points;
        let half = Stage { share: share(5000), hold: Some(hours(2)), min_requests: Some(500) };
        let expected = Plan {
            stages: vec![Stage::of(share(100)), half, Stage::of(Share::WHOLE)],
            hold: Millis::from_secs(60),
            advance: Advance::Evidence,
            require: vec![Requirement::Health],
            max_hold: hours(3),
            bake: Millis(0),
        };
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("require = []").unwrap().require, []);
        assert_eq!(read("advance = 'manual'").unwrap().advance, Advance::Manual);
    }

    #[test]
    fn the_default_plan_is_always_there() {
        let names = |text| {
            let plans = read_one(text, |value| Some(plans(value.section("")?))).unwrap();
            plans.into_iter().map(|(name, plan)| (name.to_string(), plan)).collect::<Vec<_>>()
        };
        let usual = || ("default".to_owned(), Plan::default());
        assert_eq!(names("{}"), [usual()]);
        let fast = Plan { hold: Millis::from_secs(1), ..Plan::default() };
        assert_eq!(names("{ fast = { hold = '1s' } }"), [usual(), ("fast".into(), fast.clone())]);
        assert_eq!(names("{ default = { hold = '1s' } }"), [("default".into(), fast)]);
    }

    #[test]
    fn a_stage_may_always_be_held_as_long_as_it_says() {
        assert_eq!(read("").unwrap().max_hold, hours(1));
        assert_eq!(read("hold = '2h'").unwrap().max_hold, hours(2));
        let stages = "stages = [{ share = 1, hold = '7d' }, 100]";
        assert_eq!(read(stages).unwrap().max_hold, hours(7 * 24));
        assert!(read(&format!("{stages}, max_hold = '7d'")).is_ok());
        let short = read(&format!("{stages}, max_hold = '6d'")).unwrap_err();
        assert!(short.starts_with("\"6d\" is shorter than the hold of 7days; write"), "{short}");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("stages = '5%'", "\"5%\" is not a list; write a list of percentages"),
            ("stages = []", "is empty; write the stages and end with \"100%\""),
            ("stages = [0, 100]", "0% is no traffic; write more for a stage"),
            ("stages = [5, 50]", "50% is not all the traffic; end with \"100%\""),
            ("stages = [5, '5.0%', 100]", "5% does not rise above the 5% before it; write"),
            ("stages = [50, 25, 100]", "25% does not rise above the 50% before it; write"),
            ("stages = [100, 100]", "100% does not rise above the 100% before it; write"),
            ("stages = ['101%', 100]", "\"101%\" is not a percentage; write"),
            ("stages = [{ hold = '1s' }, 100]", "is missing; write share = \"5%\""),
            ("stages = [{ share = 5, hold = '0s' }, 100]", "\"0s\" is too short; write 1ms to"),
            ("stages = [{ share = 5, min_requests = 0 }, 100]", "0 is out of range; write"),
            ("stages = [{ share = 5, for = '1s' }, 100]", "unknown key; known here: share, hold,"),
            ("hold = '0s'", "\"0s\" is too short; write 1ms to 7days"),
            ("hold = '8d'", "\"8d\" is too long; write 1ms to 7days"),
            ("advance = 'auto'", "\"auto\" is not known here; write \"hold\" or \"evidence\" or"),
            ("require = 'checks'", "\"checks\" is not a list; write a list, as in"),
            ("require = ['check']", "\"check\" is not known here; write \"checks\" or \"health\""),
            ("require = ['health', 'health']", "lists \"health\" twice; write it once"),
            ("max_hold = '1m'", "\"1m\" is shorter than the hold of 5m; write at least 5m, or"),
            ("max_hold = '31d'", "\"31d\" is too long; write 1ms to 30days"),
            ("bake = '31d'", "\"31d\" is too long; write 0s to 30days"),
            ("stage = [100]", "unknown key; did you mean stages?"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
            assert_eq!(message.lines().count(), 1, "{text}: {message}");
        }
        let many: Vec<_> = (1..=STAGES_MAX + 1).map(|n| format!("'{}%'", n as f64 / 2.0)).collect();
        let message = read(&format!("stages = [{}]", many.join(","))).unwrap_err();
        assert_eq!(message, "has 101 stages; write at most 100");
    }

    #[test]
    fn every_stage_is_read_before_one_spoils_the_list() {
        let message = read("stages = [0, 'x', 50, 25, 60]").unwrap_err();
        assert_eq!(message.lines().count(), 4, "{message}");
    }
}
