//! Where `lbctl` writes: text, JSON or nothing to standard output, troubles to standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::{
    client::Reply,
    exit::Trouble,
    table::{Paint, Tone},
};

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// Nothing but troubles.
    Quiet,
}

/// Whether standard output is a screen that can be redrawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Screen {
    /// A terminal.
    Live,
    /// A file or a pipe.
    Paper,
}

/// Standard output and standard error, or what stands for them in a test.
pub struct Out<'w> {
    /// What is printed.
    pub form: Form,
    /// Whether in colour.
    pub paint: Paint,
    /// Whether it can be redrawn.
    pub screen: Screen,
    out: Box<dyn Write + 'w>,
    err: Box<dyn Write + 'w>,
}

impl<'w> Out<'w> {
    /// The process's own output. `plain` is the wish for no colour.
    pub fn standard(form: Form, plain: Option<Paint>) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let screen = match io::stdout().is_terminal() && !dumb {
            true => Screen::Live,
            false => Screen::Paper,
        };
        let paint = match (plain, screen) {
            (Some(paint), _) => paint,
            (None, Screen::Live) if !no_color => Paint::On,
            (None, Screen::Live | Screen::Paper) => Paint::Off,
        };
        let out = Box::new(io::LineWriter::new(io::stdout()));
        Self { form, paint, screen, out, err: Box::new(io::stderr()) }
    }

    /// Output into `out` and `err`, without colour.
    #[cfg(test)]
    pub fn into(form: Form, out: &'w mut dyn Write, err: &'w mut dyn Write) -> Self {
        Self {
            form,
            paint: Paint::Off,
            screen: Screen::Paper,
            out: Box::new(out),
            err: Box::new(err),
        }
    }

    /// Prints lines, for people only.
    ///
    /// # Errors
    ///
    /// If they cannot be written, as to a closed pipe.
    pub fn lines<L: AsRef<str>>(
        &mut self,
        lines: impl IntoIterator<Item = L>,
    ) -> Result<(), Trouble> {
        match self.form {
            Form::Text => self.raw(&joined(lines)),
            Form::Json | Form::Quiet => Ok(()),
        }
    }

    /// Prints lines in place of those printed before, where that is possible; else below them.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn redraw(&mut self, lines: &[String]) -> Result<(), Trouble> {
        if self.form != Form::Text {
            return Ok(());
        }
        match self.screen {
            // Home, every line up to its end, then the rest of the screen: without flicker.
            Screen::Live => {
                let cleared = lines.iter().map(|line| format!("{line}\x1b[K"));
                self.raw(&format!("\x1b[H{}\x1b[J", joined(cleared)))
            }
            Screen::Paper => self.raw(&format!("{}\n", joined(lines))),
        }
    }

    /// Prints the daemon's reply as it came, for programs only.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), Trouble> {
        match self.form {
            Form::Json => self.raw(&format!("{}\n", String::from_utf8_lossy(reply.json()))),
            Form::Text | Form::Quiet => Ok(()),
        }
    }

    /// Prints a value as one line of JSON, for programs only.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Trouble> {
        match self.form {
            Form::Json => {
                let text = serde_json::to_string(value).map_err(io::Error::other)?;
                self.raw(&format!("{text}\n"))
            }
            Form::Text | Form::Quiet => Ok(()),
        }
    }

    /// Prints a text as it is, whatever the form.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn raw(&mut self, text: &str) -> Result<(), Trouble> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Says something besides the result, to people or the log of a script.
    pub fn note(&mut self, text: &str) {
        match self.form {
            // A note that cannot be written is no reason to fail.
            Form::Text | Form::Json => drop(writeln!(self.err, "lbctl: {text}")),
            Form::Quiet => {}
        }
    }

    /// Prints lines besides the result, for people only: a list to be read or filtered.
    pub fn aside<L: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = L>) {
        match self.form {
            // What cannot be written is no reason to fail: the result was.
            Form::Text => drop(self.err.write_all(joined(lines).as_bytes())),
            Form::Json | Form::Quiet => {}
        }
    }

    /// Says what went wrong and what to do.
    pub fn trouble(&mut self, trouble: &Trouble) {
        if let Trouble::Answered { failure, .. } = trouble {
            drop(self.json(failure));
        }
        let lead = self.paint.apply(Tone::Bad, "lbctl:");
        let mut text = format!("{lead} {trouble}\n");
        if !trouble.hint().is_empty() {
            text.push_str(&format!("  hint: {}\n", trouble.hint()));
        }
        drop(self.err.write_all(text.as_bytes()));
    }
}

fn joined<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.as_ref());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Failure;

    fn written(form: Form, write: impl FnOnce(&mut Out<'_>)) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        write(&mut Out::into(form, &mut out, &mut err));
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_trouble_is_two_lines_on_standard_error() {
        let failure = Failure { error: "no".into(), code: "c".into(), hint: "do".into() };
        let trouble = Trouble::Answered { status: 404, failure };
        let text = "lbctl: no\n  hint: do\n";
        assert_eq!(written(Form::Text, |o| o.trouble(&trouble)), (String::new(), text.into()));
        assert_eq!(written(Form::Quiet, |o| o.trouble(&trouble)), (String::new(), text.into()));
        let json = "{\"error\":\"no\",\"code\":\"c\",\"hint\":\"do\"}\n";
        assert_eq!(written(Form::Json, |o| o.trouble(&trouble)), (json.into(), text.into()));
    }

    #[test]
    fn each_form_prints_its_own() {
        let all = |o: &mut Out<'_>| {
            o.lines(["text"]).unwrap();
            o.json(&1).unwrap();
            o.note("note");
        };
        assert_eq!(written(Form::Text, all), ("text\n".into(), "lbctl: note\n".into()));
        assert_eq!(written(Form::Json, all), ("1\n".into(), "lbctl: note\n".into()));
        assert_eq!(written(Form::Quiet, all), (String::new(), String::new()));
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut closed, mut err) = (Closed, Vec::new());
        let trouble = Out::into(Form::Text, &mut closed, &mut err).lines(["x"]).unwrap_err();
        assert_eq!(trouble.exit(), crate::cli::exit::Exit::Done);
    }
}
