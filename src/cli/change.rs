//! What a command changed, in lines: `green 10% → 25% (blue 90% → 75%), revision 42`.

use super::{
    exit::Trouble,
    out::{Form, Out},
};
use crate::model::Changed;

/// Prints the lines, and the warnings to standard error.
///
/// # Errors
///
/// If they cannot be written.
pub fn print(out: &mut Out<'_>, changed: &Changed) -> Result<(), Trouble> {
    out.lines(lines(changed))?;
    if out.form == Form::Text {
        for warning in &changed.warnings {
            out.note(&format!("warning: {warning}"));
        }
    }
    Ok(())
}

/// The lines: what changed, would change, or why nothing did.
pub fn lines(changed: &Changed) -> Vec<String> {
    let revision = match changed.dry_run {
        true => String::new(),
        false => format!(", revision {}", changed.revision),
    };
    let lead = match (changed.changed, changed.dry_run) {
        (true, false) => "",
        (true, true) => "would change: ",
        (false, false) => "nothing changed: ",
        (false, true) => "nothing would change: ",
    };
    if changed.summary.is_empty() {
        return vec![format!("{}{revision}", bare(changed))];
    }
    let line = |text: &String| match text.starts_with("nothing") {
        true => format!("{text}{revision}"),
        false => format!("{lead}{text}{revision}"),
    };
    changed.summary.iter().map(line).collect()
}

fn bare(changed: &Changed) -> &'static str {
    match (changed.changed, changed.dry_run) {
        (true, false) => "changed",
        (true, true) => "would change",
        (false, false) => "nothing changed",
        (false, true) => "nothing would change",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;

    fn changed(changed: bool, dry_run: bool, summary: &[&str]) -> Changed {
        let summary = summary.iter().map(ToString::to_string).collect();
        Changed { revision: Revision(42), changed, dry_run, summary, ..Changed::default() }
    }

    #[test]
    fn setters_print_old_and_new_and_the_revision() {
        let what = "green 10% → 25% (blue 90% → 75%)";
        for (change, line) in [
            (changed(true, false, &[what]), "green 10% → 25% (blue 90% → 75%), revision 42"),
            (changed(true, true, &[what]), "would change: green 10% → 25% (blue 90% → 75%)"),
            (
                changed(false, false, &["green stays at 25%"]),
                "nothing changed: green stays at 25%, revision 42",
            ),
            (
                changed(false, true, &["green stays at 25%"]),
                "nothing would change: green stays at 25%",
            ),
            (changed(false, false, &["nothing to roll back"]), "nothing to roll back, revision 42"),
            (changed(false, false, &[]), "nothing changed, revision 42"),
        ] {
            assert_eq!(lines(&change), [line]);
        }
    }

    #[test]
    fn services_that_differ_have_a_line_each() {
        let lines = lines(&changed(true, false, &["api: green 1% → 2%", "app: green 5% → 2%"]));
        assert_eq!(lines, ["api: green 1% → 2%, revision 42", "app: green 5% → 2%, revision 42"]);
    }

    #[test]
    fn warnings_go_to_standard_error() {
        let mut change = changed(true, false, &["x"]);
        change.warnings.push("green is empty".into());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(&mut Out::into(Form::Text, &mut out, &mut err), &change).unwrap();
        assert_eq!(String::from_utf8(err).unwrap(), "lbctl: warning: green is empty\n");
        assert_eq!(String::from_utf8(out).unwrap(), "x, revision 42\n");
    }
}
