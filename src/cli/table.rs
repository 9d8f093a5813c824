//! Columns and colours.

use std::borrow::Cow;

/// How wide what `lbctl` prints may be where it is not free to be wider.
pub const WIDTH: usize = 80;
/// No column is cut below this.
const COLUMN_MIN: usize = 4;

/// What a text means to the reader. Colour only underlines it: the words say it too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// As it should be.
    Good,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Paint {
    /// Plain text.
    #[default]
    Off,
    /// ANSI escapes.
    On,
}

impl Paint {
    /// The text in its tone.
    pub fn apply(self, tone: Tone, text: &str) -> Cow<'_, str> {
        let code = match (self, tone) {
            (Self::Off, _) | (Self::On, Tone::Plain) => return text.into(),
            (Self::On, Tone::Bold) => "1",
            (Self::On, Tone::Good) => "32",
            (Self::On, Tone::Warning) => "33",
            (Self::On, Tone::Bad) => "31",
        };
        if text.is_empty() { text.into() } else { format!("\x1b[{code}m{text}\x1b[0m").into() }
    }
}

/// One cell of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text in a tone.
    pub fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), tone: Tone::Plain }
    }
}

/// To which side a column keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading, two blanks between columns.
#[derive(Clone, Debug)]
pub struct Table {
    indent: usize,
    sides: Vec<Side>,
    rows: Vec<Vec<Cell>>,
    room: Option<usize>,
}

impl Table {
    /// A table with these columns, moved in by `indent` blanks.
    pub fn new(indent: usize, columns: &[(&str, Side)]) -> Self {
        let heading = columns.iter().map(|(name, _)| Cell::toned(Tone::Bold, *name)).collect();
        let sides = columns.iter().map(|(_, side)| *side).collect();
        Self { indent, sides, rows: vec![heading], room: None }
    }

    /// Cuts the widest columns so that lines keep within [`WIDTH`].
    pub fn fitted(mut self) -> Self {
        self.room = Some(WIDTH);
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines of the table, none if it has no rows.
    pub fn lines(&self, paint: Paint) -> Vec<String> {
        if self.rows.len() < 2 {
            return Vec::new();
        }
        let widths = self.widths();
        self.rows.iter().map(|row| self.line(row, &widths, paint)).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| count(&cell.text)).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let Some(room) = self.room else { return widths };
        let gaps = self.indent + 2 * widths.len().saturating_sub(1);
        while gaps + widths.iter().sum::<usize>() > room {
            match widths.iter_mut().max() {
                Some(widest) if *widest > COLUMN_MIN => *widest -= 1,
                Some(_) | None => break,
            }
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint) -> String {
        let mut line = " ".repeat(self.indent);
        for (n, ((cell, width), side)) in row.iter().zip(widths).zip(&self.sides).enumerate() {
            if n > 0 {
                line.push_str("  ");
            }
            let text = cut(&cell.text, *width);
            let fill = " ".repeat(width.saturating_sub(count(&text)));
            let text = paint.apply(cell.tone, &text);
            match side {
                Side::Left => line.extend([text.as_ref(), &fill]),
                Side::Right => line.extend([fill.as_str(), &text]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn count(text: &str) -> usize {
    text.chars().count()
}

/// At most `width` characters; what was cut is marked.
pub fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if count(text) <= width {
        return text.into();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…").into()
}

/// The text in lines of at most [`WIDTH`] characters, each moved in by `indent` blanks, those after
/// the first by two more. A word that is too long for a line is cut.
pub fn wrapped(indent: usize, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && count(&line) + 1 + count(word) > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent + 2)));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(&cut(word, WIDTH.saturating_sub(count(&line))));
        empty = false;
    }
    if !empty {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(2, &[("NAME", Side::Left), ("N", Side::Right)]);
        table.row(["a".into(), 100.into()]);
        table.row([Cell::toned(Tone::Bad, "größer"), 7.into()]);
        table
    }

    #[test]
    fn columns_are_aligned_by_characters() {
        assert_eq!(table().lines(Paint::Off), ["  NAME      N", "  a       100", "  größer    7"]);
    }

    #[test]
    fn colours_do_not_move_columns() {
        let plain: Vec<String> = table()
            .lines(Paint::On)
            .iter()
            .map(|l| l.replace("\x1b[1m", "").replace("\x1b[31m", "").replace("\x1b[0m", ""))
            .collect();
        assert_eq!(plain, table().lines(Paint::Off));
    }

    #[test]
    fn a_fitted_table_keeps_within_the_width() {
        let mut table = Table::new(2, &[("NAME", Side::Left), ("N", Side::Right)]).fitted();
        table.row(["x".repeat(200).into(), 1.into()]);
        let lines = table.lines(Paint::Off);
        assert!(lines.iter().all(|l| l.chars().count() <= WIDTH));
        assert!(lines[1].ends_with("…  1"));
    }

    #[test]
    fn a_table_without_rows_prints_nothing() {
        assert!(Table::new(0, &[("A", Side::Left)]).lines(Paint::Off).is_empty());
    }

    #[test]
    fn long_texts_are_wrapped() {
        let lines = wrapped(4, &"word ".repeat(40));
        assert!(lines.len() == 3 && lines.iter().all(|l| l.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines[1].starts_with("      word"));
        assert_eq!(wrapped(0, &"x".repeat(200))[0].chars().count(), WIDTH);
        assert!(wrapped(4, "").is_empty());
    }
}
