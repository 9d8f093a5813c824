//! The report of a rollout: its [`Record`] as JSON, Markdown or one HTML file.
//!
//! Pure: no clock, no files; the reader's time zone is an argument, and a rollout that still runs
//! is told up to the last moment its record knows.
//!
//! - `summary` computes the numbers that a record only implies.
//! - `json` is the record with that summary.
//! - `sheet` is what the two texts say, in words and tables: `service` has its part on one service,
//!   `words` how numbers and moments read.
//! - `markdown` and `html` lay the sheet out.
//! - `figures` chooses the plots, `axis` their scales, `plot` draws them as SVG.

mod axis;
mod figures;
mod html;
mod json;
mod markdown;
mod plot;
#[cfg(test)]
mod sample;
mod service;
mod sheet;
mod summary;
#[cfg(test)]
mod tests;
mod words;

use jiff::tz::TimeZone;

use crate::model::rollout::Record;

pub use json::Report;
pub use summary::{OfPool, OfService, StageTime, Summary};

/// The record and its summary, for programs.
pub fn json(record: &Record) -> String {
    json::print(record)
}

/// For a ticket or a chat: headings, lists and tables. Times are on a clock in `zone`.
pub fn markdown(record: &Record, zone: &TimeZone) -> String {
    markdown::print(&sheet::Sheet::of(record, zone))
}

/// For a browser or a printer: one file with its style and its plots in it, which runs no script
/// and loads nothing. Times are on a clock in `zone`.
pub fn html(record: &Record, zone: &TimeZone) -> String {
    html::print(&sheet::Sheet::of(record, zone), &figures::of(record, zone))
}
