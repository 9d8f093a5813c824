//! What is wrong with a config file, in the form that people read.

use std::fmt;

use serde::Serialize;

/// One mistake in a config file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The line it is on, counted from 1; `None` if it concerns the file as a whole.
    pub line: Option<usize>,
    /// The path of the key, as in `service.app.retries`; `syntax` where the text is not TOML, empty
    /// where the file itself is the problem.
    pub key: String,
    /// What is wrong and what to write instead, on one line.
    pub message: String,
}

/// Every mistake in a config file, by line; never empty.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problems {
    /// The file's name as the user gave it.
    pub file: String,
    /// The mistakes.
    pub list: Vec<Problem>,
}

impl Problems {
    /// The problems of `file`, sorted by line; those without line come first.
    pub fn new(file: impl Into<String>, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.line);
        Self { file: file.into(), list }
    }

    /// A single problem that concerns the whole file.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        let problem = Problem { line: None, key: String::new(), message: message.into() };
        Self::new(file, vec![problem])
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.list.len() == 1 { "" } else { "s" };
        let count = self.list.len();
        write!(f, "{}: {count} problem{plural}, nothing was changed", self.file)?;
        let lines = width(self.list.iter().map(Problem::place));
        let keys = width(self.list.iter().map(|problem| problem.key.clone()));
        for problem in &self.list {
            f.write_str("\n")?;
            for (text, width) in [(problem.place(), lines), (problem.key.clone(), keys)] {
                // A column that is empty throughout is left out.
                if width > 0 {
                    write!(f, "  {text:width$}")?;
                }
            }
            write!(f, "  {}", problem.message)?;
        }
        Ok(())
    }
}

impl Problem {
    fn place(&self) -> String {
        self.line.map_or_else(String::new, |line| format!("line {line}"))
    }
}

fn width(texts: impl Iterator<Item = String>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: Option<usize>, key: &str, message: &str) -> Problem {
        Problem { line, key: key.into(), message: message.into() }
    }

    #[test]
    fn problems_print_as_a_table_sorted_by_line() {
        let list = vec![
            problem(Some(12), "service.app.pool.green.weight", "\"101\" is not a percentage"),
            problem(Some(3), "listener.http.address", "is missing"),
            problem(None, "service", "is missing"),
        ];
        let expected = "\
lbd.toml: 3 problems, nothing was changed
           service                        is missing
  line 3   listener.http.address          is missing
  line 12  service.app.pool.green.weight  \"101\" is not a percentage";
        assert_eq!(Problems::new("lbd.toml", list).to_string(), expected);
    }

    #[test]
    fn empty_columns_are_left_out() {
        let printed = Problems::of_file("x.toml", "cannot be read").to_string();
        assert_eq!(printed, "x.toml: 1 problem, nothing was changed\n  cannot be read");
    }
}
