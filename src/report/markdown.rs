//! The report as Markdown.

use std::fmt::Write;

use super::sheet::{Column, Grid, Named, Section, Sheet};

/// The sheet as Markdown.
pub fn print(sheet: &Sheet) -> String {
    let mut text = format!("# {}\n\n", escaped(&sheet.title));
    text += &list(&sheet.facts);
    text += &list(&sheet.numbers);
    text += "\n## Timeline\n\n";
    text += &match sheet.timeline.rows.is_empty() {
        true => "Nothing was recorded.\n".into(),
        false => table(&sheet.timeline),
    };
    for section in &sheet.sections {
        text += &of_service(section);
    }
    text
}

fn of_service(section: &Section) -> String {
    let (name, verdict) = (escaped(&section.service), escaped(&section.verdict));
    let mut text = format!("\n## Service {name}\n\n{verdict}\n");
    for block in &section.blocks {
        // Writing into a String does not fail.
        let _ = write!(text, "\n### {}\n\n{}\n\n", block.title, escaped(&block.note));
        text += &table(&block.grid);
    }
    text
}

fn list(facts: &[Named]) -> String {
    let line =
        |Named { name, text }: &Named| format!("- **{}:** {}\n", escaped(name), escaped(text));
    facts.iter().map(line).collect()
}

fn table(grid: &Grid) -> String {
    let heads: Vec<String> = grid.columns.iter().map(|c| c.name.clone()).collect();
    let ruler = |c: &Column| if c.is_numeric { "---:" } else { "---" };
    let rulers: Vec<&str> = grid.columns.iter().map(ruler).collect();
    let mut text = format!("{}|{}|\n", row(&heads), rulers.join("|"));
    text.extend(grid.rows.iter().map(|cells| row(cells)));
    text
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The text on one line, with nothing in it that Markdown or HTML would read as markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => escaped.extend(['\\', c]),
            // A terminal would take some of them as commands.
            control if control.is_control() => escaped.push(' '),
            plain => escaped.push(plain),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(escaped("a|b\nc\r\nd"), "a\\|b c  d");
        assert_eq!(escaped("<b>*x*</b> [l](u) `c`"), "&lt;b>\\*x\\*&lt;/b> \\[l\\](u) \\`c\\`");
        assert_eq!(escaped("\u{1b}[31m"), " \\[31m");
    }

    #[test]
    fn numbers_keep_to_the_right() {
        let mut grid = Grid::of_numbers(["Pool".into(), "n".into()]);
        grid.row("green", ["7".into()]);
        assert_eq!(table(&grid), "| Pool | n |\n|---|---:|\n| green | 7 |\n");
    }
}
