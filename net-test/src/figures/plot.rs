//! The advantages as a picture, with a bar for each row.

use plotters::{
    prelude::{ChartBuilder, Color, IntoDrawingArea, IntoFont, PathElement, Rectangle, SVGBackend, Text},
    style::{RGBColor, WHITE, text_anchor},
};

use eyre::Report;

use super::table::figure;
use crate::compare::Row;

/// The sizes are in pixels.
const WIDTH: u32 = 900;
const BAR: u32 = 20;
const MARGIN: u32 = 60;
/// The length at which bars end. A larger advantage is shown by its number alone.
const MOST: f64 = 2.0;

const GOOD: RGBColor = RGBColor(0x2a, 0x78, 0x8e);
const SHORT: RGBColor = RGBColor(0xc8, 0x5a, 0x3c);
const OPEN: RGBColor = RGBColor(0x9a, 0x9a, 0x9a);
const INK: RGBColor = RGBColor(0x30, 0x30, 0x30);

/// Draws the rows as SVG.
pub fn draw(rows: &[Row]) -> Result<String, Report> {
    let rows: Vec<&Row> = rows.iter().filter(|row| !row.is_of_one_side()).collect();
    let mut svg = String::new();
    {
        let height = MARGIN + BAR * u32::try_from(rows.len())?;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(broken)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(
                "times as good as the other side, and where that lies in 95 of 100 cases (1 is as good)",
                ("sans-serif", 15),
            )
            .margin(8)
            .x_label_area_size(24)
            .build_cartesian_2d(-1.1..MOST, 0.0..rows.len() as f64)
            .map_err(broken)?;
        for (n, row) in rows.iter().enumerate() {
            let top = (rows.len() - n) as f64;
            let (value, words) = match &row.void {
                Some(_) => (0.0, "void".to_owned()),
                None => (row.advantage.unwrap_or(MOST), row.advantage.map_or_else(|| "-".into(), figure)),
            };
            let bar = Rectangle::new([(0.0, top - 0.2), (value.min(MOST), top - 0.8)], color(row).filled());
            let small = ("sans-serif", 12).into_font().color(&INK);
            let right = text_anchor::Pos::new(text_anchor::HPos::Right, text_anchor::VPos::Center);
            let left = text_anchor::Pos::new(text_anchor::HPos::Left, text_anchor::VPos::Center);
            let name = Text::new(label(row, &rows), (-0.02, top - 0.5), small.clone().pos(right));
            let beside = (row.high.unwrap_or(value).max(value) + 0.02).min(MOST - 0.16);
            let number = Text::new(words, (beside, top - 0.5), small.pos(left));
            chart.draw_series([bar]).map_err(broken)?;
            if let (Some(low), Some(high), None) = (row.low, row.high, &row.void) {
                let line = [(low.min(MOST), top - 0.5), (high.min(MOST), top - 0.5)];
                chart.draw_series([PathElement::new(line.to_vec(), INK)]).map_err(broken)?;
            }
            chart.draw_series([name, number]).map_err(broken)?;
        }
        let one = PathElement::new([(1.0, 0.0), (1.0, rows.len() as f64)], INK.mix(0.5));
        chart.draw_series([one]).map_err(broken)?;
        area.present().map_err(broken)?;
    }
    Ok(svg)
}

/// Returns the colour of a bar. A row counts as better or worse only if its whole interval does.
fn color(row: &Row) -> RGBColor {
    match (row.low, row.high) {
        (Some(low), _) if low > 1.0 => GOOD,
        (_, Some(high)) if high < 1.0 => SHORT,
        _ => OPEN,
    }
}

/// Returns the label of a row. If several rows have the same name, the label includes the peer.
fn label(row: &Row, rows: &[&Row]) -> String {
    let several = rows.iter().filter(|other| other.name == row.name).count() > 1;
    if several { format!("{}, {}", row.peer, row.name) } else { row.name.clone() }
}

fn broken(error: impl std::fmt::Display) -> Report {
    Report::msg(format!("the picture cannot be drawn: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Better;

    fn row(name: &str, better: Better, ours: f64) -> Row {
        Row::new(name, "x", better, "raw iroh", &[(ours, 10.0)])
    }

    #[test]
    fn a_bar_is_better_or_worse_only_if_its_whole_interval_is() {
        let row = |turns: [f64; 5]| Row::new("rate", "x", Better::Higher, "raw iroh", &turns.map(|ours| (ours, 10.0)));
        assert_eq!(color(&row([11.0, 12.0, 13.0, 14.0, 15.0])), GOOD);
        assert_eq!(color(&row([9.0, 8.0, 7.0, 6.0, 5.0])), SHORT);
        assert_eq!(color(&row([9.0, 12.0, 13.0, 14.0, 15.0])), OPEN);
        let void = Row { void: Some("others".into()), ..row([15.0; 5]) };
        let svg = draw(&[void]).unwrap();
        assert!(svg.contains("void") && !svg.contains("1.50"), "{svg}");
    }

    #[test]
    fn what_is_of_twolane_alone_is_not_drawn() {
        let alone = Row { peer: "twolane, lane idle".into(), ..row("error", Better::Lower, 1.0) };
        let svg = draw(&[row("rate", Better::Higher, 1.0), alone]).unwrap();
        assert!(svg.contains("rate") && !svg.contains("error"), "{svg}");
    }

    #[test]
    fn what_is_measured_beside_two_says_beside_whom() {
        let (one, two) =
            (row("rate", Better::Higher, 1.0), Row { peer: "another".into(), ..row("rate", Better::Higher, 2.0) });
        let svg = draw(&[one, two, row("latency", Better::Lower, 1.0)]).unwrap();
        for text in ["raw iroh, rate", "another, rate"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(!svg.contains("raw iroh, latency"), "{svg}");
    }

    #[test]
    fn the_picture_has_every_row_and_its_number() {
        let svg = draw(&[row("rate", Better::Higher, 9.5), row("latency", Better::Lower, 1.0)]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for text in ["rate", "latency", "0.95", "10.0"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
    }
}
