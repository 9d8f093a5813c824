//! What there is to see: lines that stay, and below them a picture that is drawn anew in place.
//!
//! Without a terminal the picture is a line every other second.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _, stdout},
    net::SocketAddr,
    time::{Duration, Instant},
};

use lbd::model::Share;

use crate::{
    lab::Stopped,
    ledger::{Counts, Ledger, Side},
    load::{RATE, USERS},
    steps::Outcome,
};

/// How wide a bar is.
const BAR: usize = 36;
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(2);

/// Ways to print a text.
#[derive(Clone, Copy, Debug)]
enum Ink {
    Bold,
    Dim,
    Blue,
    Green,
    Red,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Blue => "34",
            Self::Green => "32",
            Self::Red => "31",
        }
    }

    const fn of(side: Side) -> Self {
        match side {
            Side::Blue => Self::Blue,
            Side::Green => Self::Green,
        }
    }
}

/// The screen.
#[derive(Debug)]
pub struct Picture {
    began: Instant,
    /// Whether the picture can be drawn in place.
    live: bool,
    colour: bool,
    /// How many lines of the picture stand below the lines that stay.
    drawn: usize,
    printed: Option<Instant>,
}

/// What the picture shows at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    set: [Share; 2],
    rates: [f64; 3],
    counts: Counts,
    on_green: usize,
}

impl Frame {
    /// The frame for now, with the shares that are set.
    pub fn of(ledger: &mut Ledger, set: [Share; 2]) -> Self {
        let on_green = ledger.seen().iter().filter(|side| **side == Some(Side::Green)).count();
        Self { set, rates: ledger.rates(), counts: ledger.counts(), on_green }
    }

    /// The part of the pools' answers that came from this one.
    fn seen(&self, side: Side) -> f64 {
        let both = self.rates[0] + self.rates[1];
        if both > 0.0 { self.rates[side as usize] / both } else { 0.0 }
    }
}

impl Picture {
    /// An empty screen.
    pub fn new() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let terminal = stdout().is_terminal() && set("TERM").is_none_or(|term| term != "dumb");
        let colour = terminal && set("NO_COLOR").is_none();
        Self { began: Instant::now(), live: terminal, colour, drawn: 0, printed: None }
    }

    /// Says what runs.
    pub fn title(&mut self, address: SocketAddr) {
        let title = self.ink(Ink::Bold, "lbd demo");
        let text = format!("{title}: {USERS} users, {RATE} requests/s, http://{address}");
        self.say(&[text, String::new()]);
    }

    /// Shows a command, and what came of it.
    pub fn typed(&mut self, words: &[&str], said: &str) {
        let typed = self.ink(Ink::Bold, &format!("$ lbctl {}", words.join(" ")));
        let mut lines = vec![format!("{} {typed}", self.time())];
        lines.extend(said.lines().map(|line| format!("       {}", self.ink(Ink::Dim, line))));
        self.say(&lines);
    }

    /// Adds what a command means.
    pub fn note(&mut self, text: &str) {
        let line = format!("       {}", self.ink(Ink::Dim, text));
        self.say(&[line]);
    }

    /// Draws the picture.
    pub fn draw(&mut self, frame: &Frame) {
        if self.live {
            let picture = self.bars(frame);
            self.print(&picture, picture.len());
        } else if self.printed.is_none_or(|at| at.elapsed() >= LINE) {
            self.printed = Some(Instant::now());
            let line = self.line(frame);
            self.say(&[line]);
        }
    }

    /// The end: what was counted.
    pub fn tally(&mut self, outcomes: &[Outcome], ledger: &Ledger, stopped: &Stopped) {
        let head =
            "command                  users moved  expected  astray  requests  failures    lbctl";
        let mut lines = vec![String::new(), self.ink(Ink::Bold, head)];
        lines.extend(outcomes.iter().map(|outcome| self.row(outcome)));
        let counts = ledger.counts();
        let failures = match (ledger.failures(), ledger.first_failure()) {
            (0, _) => self.ink(Ink::Green, "0 failures"),
            (n, first) => {
                self.ink(Ink::Red, &format!("{n} failures, first: {}", first.unwrap_or("-")))
            }
        };
        let (requests, pages) = (thousands(counts.requests), thousands(counts.pages));
        let took = stopped.took.as_millis();
        lines.extend([
            String::new(),
            format!("{requests} requests, {failures}, {pages} maintenance pages as expected,"),
            format!("{} connections had to be made anew", counts.reconnects),
            format!(
                "lbd ended {took} ms after SIGTERM ({}); nothing is left running",
                stopped.status
            ),
        ]);
        self.say(&lines);
    }

    fn row(&self, outcome: &Outcome) -> String {
        let Outcome { typed, took, moved, expected, astray, requests, failures } = outcome;
        let typed = if typed.is_empty() { "(nothing yet)" } else { typed };
        let took = match took.as_micros() {
            0 => String::from("-"),
            micros => format!("{:.1} ms", micros as f64 / 1000.0),
        };
        let row = format!(
            "{typed:<24} {moved:>11}  {expected:>8}  {astray:>6}  {requests:>8}  {failures:>8}  {took:>7}"
        );
        if outcome.is_right() { row } else { self.ink(Ink::Red, &row) }
    }

    fn bars(&self, frame: &Frame) -> Vec<String> {
        let bar = |side: Side| {
            let (set, seen) = (frame.set[side as usize], frame.seen(side));
            let full = ((seen * BAR as f64).round() as usize).min(BAR);
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
            let failures = frame.counts.failures[side as usize];
            format!(
                "  {:<5} {}  set {:>4}  seen {:>5.1}%  {:>4.0} rps  {failures} failed",
                side.name(),
                self.ink(Ink::of(side), &bar),
                set.to_string(),
                seen * 100.0,
                frame.rates[side as usize],
            )
        };
        let page = format!("  page  {:>4.0} rps get the maintenance page", frame.rates[2]);
        let page = if frame.rates[2] > 0.0 { page } else { String::new() };
        let Counts { requests, .. } = frame.counts;
        let sum = format!(
            "  {} requests, {} of {USERS} users on green",
            thousands(requests),
            frame.on_green
        );
        vec![String::new(), bar(Side::Blue), bar(Side::Green), page, self.ink(Ink::Dim, &sum)]
    }

    fn line(&self, frame: &Frame) -> String {
        let mut line = self.time();
        for side in Side::ALL {
            let (set, rate) = (frame.set[side as usize], frame.rates[side as usize]);
            let failures = frame.counts.failures[side as usize];
            // Writing to a String cannot fail.
            let _ = write!(
                line,
                "  {} set {set}, seen {:.1}%, {rate:.0} rps, {failures} failed",
                side.name(),
                frame.seen(side) * 100.0,
            );
        }
        if frame.rates[2] > 0.0 {
            let _ = write!(line, "  page {:.0} rps", frame.rates[2]);
        }
        line
    }

    fn time(&self) -> String {
        format!("{:>4.1} s", self.began.elapsed().as_secs_f64())
    }

    /// Prints lines that stay.
    fn say(&mut self, lines: &[String]) {
        self.print(lines, 0);
    }

    /// Replaces the picture by `lines`, of which the last `passing` are the next picture.
    fn print(&mut self, lines: &[String], passing: usize) {
        let mut text = match self.drawn {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A\x1b[J"),
        };
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = passing;
        // Whoever closed the terminal sees nothing; the demo goes on to its end.
        let mut out = stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn ink(&self, ink: Ink, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", ink.code()) } else { text.to_owned() }
    }
}

/// `12,345`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
