//! The report as one HTML file.

use std::collections::BTreeMap;

use minijinja::{Environment, context};

use super::{figures::Figure, markdown, plot, sheet::Sheet};
use crate::model::ServiceName;

const TEMPLATE: &str = include_str!("report.html");

/// The sheet and its figures as a page.
pub fn print(sheet: &Sheet, figures: &BTreeMap<ServiceName, Vec<Figure>>) -> String {
    rendered(sheet, figures).unwrap_or_else(|_| plain(sheet))
}

fn rendered(
    sheet: &Sheet,
    figures: &BTreeMap<ServiceName, Vec<Figure>>,
) -> Result<String, minijinja::Error> {
    // Whatever has a name that ends in .html is escaped.
    let mut environment = Environment::new();
    environment.add_template("report.html", TEMPLATE)?;
    environment.get_template("report.html")?.render(context! {
        sheet,
        figures,
        inks => plot::inks(),
    })
}

/// What is shown should the template not hold what the tests hold it to: the report matters more
/// than its looks.
fn plain(sheet: &Sheet) -> String {
    let text = markdown::print(sheet).replace('&', "&amp;").replace('<', "&lt;");
    format!("<!doctype html><meta charset=\"utf-8\"><title>Rollout</title><pre>{text}</pre>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_has_every_colour_for_light_and_dark() {
        for ink in plot::inks() {
            let given = TEMPLATE.matches(&format!("--{}: #", ink.name)).count();
            assert_eq!(given, 2, "{}", ink.name);
        }
    }

    #[test]
    fn the_fallback_is_escaped() {
        let mut record = crate::report::sample::fresh();
        record.rollout.reason = Some("<script>".into());
        let page = plain(&Sheet::of(&record, &jiff::tz::TimeZone::UTC));
        assert!(page.contains("# Rollout 7") && !page.contains("<script"));
    }
}
