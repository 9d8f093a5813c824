//! Draws a plot as SVG.
//!
//! An SVG within a page takes on the page's style: the colours here are what the page's style knows
//! the parts by, to give them others in the dark, and what shows where there is no style.

use std::ops::Range;

use plotters::{
    coord::{
        Shift,
        ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use serde::Serialize;

use super::axis::Tick;

/// A plot on a unit square.
pub struct Plot {
    /// What is measured upwards.
    pub name: String,
    /// What the axis of time is called.
    pub time: String,
    /// Ticks of time.
    pub across: Vec<Tick>,
    /// Ticks of what is measured.
    pub upwards: Vec<Tick>,
    /// What is shown.
    pub lines: Vec<Line>,
    /// What happened meanwhile.
    pub marks: Vec<Mark>,
}

/// A line of a plot.
pub struct Line {
    /// Its colour.
    pub hue: Hue,
    /// How strongly it is drawn.
    pub weight: Weight,
    /// Its parts: between them nothing is known.
    pub runs: Vec<Vec<(f64, f64)>>,
}

/// A moment with a name.
pub struct Mark {
    /// Where.
    pub place: f64,
    /// What.
    pub text: String,
}

/// A colour of lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hue {
    /// Blue.
    Blue,
    /// Green.
    Green,
    /// Orange.
    Orange,
    /// Violet.
    Violet,
    /// For all pools beyond the fourth.
    Gray,
}

/// How strongly a line is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weight {
    /// The main thing.
    Full,
    /// Beside it.
    Half,
    /// In the background.
    Faint,
}

/// A colour as the page's style knows it.
#[derive(Debug, Serialize)]
pub struct Ink {
    /// Its name there.
    pub name: &'static str,
    /// Its number in the plots.
    pub hex: String,
}

const TEXT: RGBColor = RGBColor(0x4B, 0x55, 0x63);
const AXIS: RGBColor = RGBColor(0x9C, 0xA3, 0xAF);
const GRID: RGBColor = RGBColor(0xE5, 0xE7, 0xEB);
const MARK: RGBColor = RGBColor(0x6B, 0x72, 0x80);

/// Twice as large as it is shown, since plotters draws to whole units.
const SIZE: (u32, u32) = (1800, 560);
const FONT: u32 = 32;
/// Above the plot, for two rows of marks.
const TOP: u32 = 100;
const ROW: i32 = 36;
/// So that they do not touch the topmost tick's text.
const GAP: i32 = 22;
/// About as wide as a letter is on average.
const LETTER: i32 = 14;

impl Hue {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Blue, Self::Green, Self::Orange, Self::Violet, Self::Gray];

    /// Its name in the page's style.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Orange => "orange",
            Self::Violet => "violet",
            Self::Gray => "gray",
        }
    }

    const fn rgb(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0x25, 0x5F, 0xD4),
            Self::Green => RGBColor(0x15, 0x9A, 0x4A),
            Self::Orange => RGBColor(0xD9, 0x6B, 0x0B),
            Self::Violet => RGBColor(0x86, 0x3B, 0xC9),
            Self::Gray => RGBColor(0x7A, 0x7F, 0x88),
        }
    }
}

impl Weight {
    /// Its name in the page's style.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Half => "half",
            Self::Faint => "faint",
        }
    }

    const fn alpha(self) -> f64 {
        match self {
            Self::Full => 1.0,
            Self::Half => 0.6,
            Self::Faint => 0.35,
        }
    }
}

/// All colours of plots.
pub fn inks() -> Vec<Ink> {
    let fixed = [("text", TEXT), ("axis", AXIS), ("grid", GRID), ("mark", MARK)];
    let hues = Hue::ALL.map(|hue| (hue.as_str(), hue.rgb()));
    let ink = |(name, RGBColor(r, g, b))| Ink { name, hex: format!("#{r:02X}{g:02X}{b:02X}") };
    fixed.into_iter().chain(hues).map(ink).collect()
}

/// The plot as an SVG element; `None` if it cannot be drawn, for a report is better without a plot
/// than not made.
pub fn svg(plot: &Plot) -> Option<String> {
    let mut svg = String::new();
    plot.draw(&mut svg).ok()?;
    Some(svg)
}

type Failed<'s> = DrawingAreaErrorKind<<SVGBackend<'s> as DrawingBackend>::ErrorType>;
type Chart<'c, 'p, 's> = ChartContext<'c, SVGBackend<'s>, Cartesian2d<Axis<'p>, Axis<'p>>>;

impl Plot {
    fn draw<'s>(&self, svg: &'s mut String) -> Result<(), Failed<'s>> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(TOP)
            .margin_right(84)
            .x_label_area_size(96)
            .y_label_area_size(170)
            .build_cartesian_2d(
                // A little more than the whole, so that what ends it does not stand on the edge.
                Axis { end: 1.015, ticks: &self.across },
                Axis { end: 1.0, ticks: &self.upwards },
            )?;
        self.draw_axes(&mut chart)?;
        for mark in &self.marks {
            let line = [(mark.place, 0.0), (mark.place, 1.0)];
            chart.draw_series(LineSeries::new(line, MARK.stroke_width(2)))?;
        }
        self.draw_names(&root, &chart)?;
        for line in &self.lines {
            line.draw(&mut chart)?;
        }
        root.present()
    }

    fn draw_axes<'s>(&self, chart: &mut Chart<'_, '_, 's>) -> Result<(), Failed<'s>> {
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID.stroke_width(2))
            .axis_style(AXIS.stroke_width(2))
            .label_style(("sans-serif", FONT).into_font().color(&TEXT))
            .axis_desc_style(("sans-serif", FONT).into_font().color(&TEXT))
            .x_desc(self.time.as_str())
            .y_desc(self.name.as_str())
            .draw()
    }

    /// The names of marks, in two rows above the plot; one for which neither has room is left out.
    fn draw_names<'s>(
        &self,
        root: &DrawingArea<SVGBackend<'s>, Shift>,
        chart: &Chart<'_, '_, 's>,
    ) -> Result<(), Failed<'s>> {
        let style = ("sans-serif", FONT).into_font().color(&MARK);
        let mut taken = [i32::MIN; 2];
        for mark in &self.marks {
            let (x, top) = chart.backend_coord(&(mark.place, 1.0));
            let letters = i32::try_from(mark.text.chars().count()).unwrap_or(i32::MAX / LETTER);
            let half = letters.saturating_mul(LETTER) / 2;
            let middle = x.min(SIZE.0.cast_signed() - half).max(half);
            let Some((row, end)) =
                (0_i32..).zip(&mut taken).find(|(_, end)| **end <= middle - half)
            else {
                continue;
            };
            *end = middle + half + LETTER;
            let at = (middle, top - GAP - row * ROW);
            let style = style.pos(Pos::new(HPos::Center, VPos::Bottom));
            root.draw(&Text::new(mark.text.clone(), at, style))?;
        }
        Ok(())
    }
}

impl Line {
    fn draw<'s>(&self, chart: &mut Chart<'_, '_, 's>) -> Result<(), Failed<'s>> {
        let style = self.hue.rgb().mix(self.weight.alpha()).stroke_width(4);
        for run in &self.runs {
            match run.as_slice() {
                // A line through one point cannot be seen.
                [only] => chart.draw_series([Circle::new(*only, 5, style.filled())]).map(drop)?,
                points => {
                    chart.draw_series(LineSeries::new(points.iter().copied(), style)).map(drop)?
                }
            }
        }
        Ok(())
    }
}

/// An axis from 0, with ticks of its own; plotters would name them by their place.
struct Axis<'p> {
    end: f64,
    ticks: &'p [Tick],
}

impl Ranged for Axis<'_> {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * place / self.end).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.iter().map(|tick| tick.place).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        0.0..self.end
    }
}

impl ValueFormatter<f64> for Axis<'_> {
    fn format_ext(&self, place: &f64) -> String {
        let tick = self.ticks.iter().find(|tick| (tick.place - place).abs() < 1e-9);
        tick.map_or_else(String::new, |tick| tick.text.clone())
    }
}
