//! The new file: sections with keys and comments, written as TOML.

use std::fmt::Write;

use toml::Value;

use super::parser::Place;

/// The new file.
#[derive(Default)]
pub struct Document {
    /// Comment lines at its head.
    pub head: Vec<String>,
    /// Its sections, in order.
    pub sections: Vec<Section>,
}

/// A section, `[a.b]` or `[[a.b]]`.
pub struct Section {
    title: String,
    comments: Vec<String>,
    keys: Vec<(String, Value, String)>,
}

impl Section {
    /// The section `[path]`.
    pub fn table(path: &[&str]) -> Self {
        Self { title: format!("[{}]", title(path)), comments: Vec::new(), keys: Vec::new() }
    }

    /// A section `[[path]]`.
    pub fn item(path: &[&str]) -> Self {
        Self { title: format!("[[{}]]", title(path)), comments: Vec::new(), keys: Vec::new() }
    }

    /// A comment line above it.
    pub fn comment(&mut self, text: impl Into<String>) {
        self.comments.push(text.into());
    }

    /// Takes a key out.
    pub fn unset(&mut self, key: &str) {
        self.keys.retain(|(name, ..)| name != key);
    }

    /// A key that comes from a place in the old file.
    pub fn set(&mut self, key: &str, value: impl Into<Value>, at: &Place) {
        self.set_because(key, value, at.to_string());
    }

    /// A key with the reason for it.
    pub fn set_because(&mut self, key: &str, value: impl Into<Value>, why: impl Into<String>) {
        self.keys.push((key.into(), value.into(), why.into()));
    }
}

/// A table inside a value. Nothing is written if it has no keys.
pub fn table<V: Into<Value>>(keys: impl IntoIterator<Item = (String, V)>) -> Value {
    Value::Table(keys.into_iter().map(|(key, value)| (key, value.into())).collect())
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.head {
            writeln!(f, "{}", comment(line))?;
        }
        for section in &self.sections {
            f.write_char('\n')?;
            for line in &section.comments {
                writeln!(f, "{}", comment(line))?;
            }
            writeln!(f, "{}", section.title)?;
            for (key, value, why) in &section.keys {
                write!(f, "{} = {value}", quoted(key))?;
                match why.is_empty() {
                    true => writeln!(f)?,
                    false => writeln!(f, "  {}", comment(why))?,
                }
            }
        }
        Ok(())
    }
}

fn title(path: &[&str]) -> String {
    path.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".")
}

/// A key as TOML has it.
fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !key.is_empty() && key.chars().all(bare) {
        true => key.into(),
        false => Value::String(key.replace(char::is_control, " ")).to_string(),
    }
}

/// A text as one comment line.
fn comment(text: &str) -> String {
    format!("# {}", text.replace(char::is_control, " ")).trim_end().to_owned()
}
