//! The report for programs.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{
    Serializer,
    ser::{Formatter, PrettyFormatter},
};

use super::summary::Summary;
use crate::model::rollout::Record;

/// A record with what can be computed from it.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Report<'r> {
    /// All that is kept of the rollout.
    #[serde(flatten)]
    pub record: &'r Record,
    /// Computed from it.
    pub summary: Summary,
}

/// The report as text.
pub fn print(record: &Record) -> String {
    let report = Report { record, summary: Summary::of(record) };
    let mut text = Vec::new();
    let mut to = Serializer::with_formatter(&mut text, Lines::default());
    // Names and numbers into memory: there is nothing that could fail.
    let written = report.serialize(&mut to);
    debug_assert!(written.is_ok());
    text.push(b'\n');
    String::from_utf8(text).unwrap_or_default()
}

/// What lies deeper than this stands on the line of what it lies in: a line for each point, instead
/// of a line for each of a tape's hundred thousand numbers.
const DEPTH_MAX: usize = 4;

/// Line breaks as usual, down to [`DEPTH_MAX`].
#[derive(Default)]
struct Lines {
    depth: usize,
    pretty: PrettyFormatter<'static>,
}

impl Lines {
    fn breaks(&self) -> bool {
        self.depth <= DEPTH_MAX
    }

    fn separate<W: ?Sized + Write>(to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.breaks() { self.pretty.begin_array(to) } else { to.write_all(b"[") }
    }

    fn end_array<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        let breaks = self.breaks();
        self.depth -= 1;
        if breaks { self.pretty.end_array(to) } else { to.write_all(b"]") }
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        match self.breaks() {
            true => self.pretty.begin_array_value(to, first),
            false => Self::separate(to, first),
        }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.pretty.end_array_value(to)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.breaks() { self.pretty.begin_object(to) } else { to.write_all(b"{") }
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        let breaks = self.breaks();
        self.depth -= 1;
        if breaks { self.pretty.end_object(to) } else { to.write_all(b"}") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        match self.breaks() {
            true => self.pretty.begin_object_key(to, first),
            false => Self::separate(to, first),
        }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.pretty.begin_object_value(to)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.pretty.end_object_value(to)
    }
}
