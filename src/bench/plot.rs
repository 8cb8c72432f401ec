//! Reports as pictures: SVG that can be read on a light page and on a dark one.

use std::collections::BTreeSet;

use anyhow::Result;
use plotters::prelude::*;

use super::contender::Contender;
use super::report::{Report, Row};

const SIZE: (u32, u32) = (920, 440);
const FONT: &str = "sans-serif";
/// To the right of the last points, for the names of the curves.
const NAMES_WIDTH: u32 = 300;
/// Between the baselines of two names.
const NAME_HEIGHT: i32 = 19;
/// Pixels between a last point and its name.
const NAME_GAP: i32 = 26;
/// The lowest point stands this much above the lower edge, and the highest this much below the upper one.
const ROOM: f64 = 1.25;
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2F);
const GRID: RGBColor = RGBColor(0xD8, 0xDE, 0xE4);
/// The first ones are told apart by the colour-blind too (Okabe and Ito); every curve also has its name at its end.
const COLOURS: [RGBColor; 10] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x8C, 0x8C, 0x8C),
    RGBColor(0x9A, 0x6A, 0x2F),
    RGBColor(0x8E, 0x63, 0xCE),
    RGBColor(0x2F, 0x8F, 0x9D),
];
/// On a dark page the paper and the ink change places; curves keep their colours but for the blue, which is too dark.
const DARK: &str = "<style>@media (prefers-color-scheme: dark) { \
    [fill=\"#FFFFFF\"] { fill: #0D1117 } [fill=\"#24292F\"] { fill: #E6EDF3 } [stroke=\"#24292F\"] { stroke: #E6EDF3 } \
    [stroke=\"#D8DEE4\"] { stroke: #30363D } [stroke=\"#0072B2\"] { stroke: #4CA6E8 } [fill=\"#0072B2\"] { fill: #4CA6E8 } \
    }</style>";

struct Chart {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    curves: Vec<Curve>,
}

struct Curve {
    name: String,
    points: Vec<(u64, f64)>,
}

/// File names and what they hold; only pictures for which there are at least two points of a curve.
///
/// # Errors
/// When a picture can't be drawn.
pub fn all(reports: &[Report]) -> Result<Vec<(&'static str, String)>> {
    let charts =
        [("append-throughput.svg", append(reports)), ("latency-by-size.svg", latency_by_size(reports))];
    let drawn = charts.into_iter().filter(|(_, chart)| chart.curves.iter().any(|c| c.points.len() > 1));
    drawn.map(|(name, chart)| Ok((name, draw(&chart)?))).collect()
}

fn append(reports: &[Report]) -> Chart {
    let rows: Vec<&Row> = rows(reports).filter(|row| is_contender(&row.name)).collect();
    Chart {
        title: "Events appended a second, beside plain inserts",
        x: "commands waiting for an answer",
        y: "events per second",
        curves: curves(&rows, |row| Some((row.callers as u64, row.figures.per_second))),
    }
}

fn is_contender(name: &str) -> bool {
    Contender::ALL.iter().any(|contender| contender.name() == name)
}

fn latency_by_size(reports: &[Report]) -> Chart {
    let rows: Vec<&Row> = rows(reports).filter(|row| row.stored.is_some()).collect();
    Chart {
        title: "Latency against the amount of data",
        x: "conversations stored",
        y: "p50, milliseconds",
        curves: curves(&rows, |row| Some((row.stored?, row.figures.p50_ms))),
    }
}

fn rows(reports: &[Report]) -> impl Iterator<Item = &Row> {
    reports.iter().flat_map(|report| &report.rows)
}

/// One curve for each name, in the order of the rows; of two measurements at one place the later counts.
fn curves(rows: &[&Row], point: impl Fn(&Row) -> Option<(u64, f64)>) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows {
        let Some(point) = point(row) else { continue };
        match curves.iter_mut().find(|curve| curve.name == row.name) {
            Some(curve) => {
                curve.points.retain(|(x, _)| *x != point.0);
                curve.points.push(point);
            }
            None => curves.push(Curve { name: row.name.clone(), points: vec![point] }),
        }
    }
    curves.iter_mut().for_each(|curve| curve.points.sort_by_key(|(x, _)| *x));
    curves
}

/// Both axes are logarithmic: the same ratio is the same distance everywhere.
fn draw(chart: &Chart) -> Result<String> {
    let mut svg = String::new();
    let paper = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    paper.fill(&WHITE)?;
    let points = || chart.curves.iter().flat_map(|curve| &curve.points);
    let places: BTreeSet<u64> = points().map(|(x, _)| *x).collect();
    let (first, last) = (places.first().copied().unwrap_or(1), places.last().copied().unwrap_or(1));
    let lowest = points().map(|(_, y)| *y).fold(f64::INFINITY, f64::min) / ROOM;
    let highest = points().map(|(_, y)| *y).fold(lowest, f64::max) * ROOM;
    // Labels to the right stand where something was measured.
    let x_axis = (first..last).log_scale().with_key_points(places.into_iter().collect());
    let y_axis = (lowest..highest).log_scale().with_key_points(steps(lowest, highest));
    let label = (FONT, 16).into_font().color(&INK);
    let mut canvas = ChartBuilder::on(&paper)
        .caption(chart.title, (FONT, 21).into_font().color(&INK))
        .margin(14)
        .margin_right(NAMES_WIDTH)
        .x_label_area_size(52)
        .y_label_area_size(78)
        .build_cartesian_2d(x_axis, y_axis)?;
    canvas
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_label_formatter(&|x| grouped(*x))
        .y_label_formatter(&|y| if *y < 1.0 { y.to_string() } else { grouped(y.round() as u64) })
        .x_desc(chart.x)
        .y_desc(chart.y)
        .label_style(label.clone())
        .draw()?;
    let mut names = Vec::new();
    for (curve, colour) in chart.curves.iter().zip(COLOURS.iter().cycle()) {
        let line = colour.stroke_width(3);
        let points = curve.points.iter().copied();
        canvas.draw_series(LineSeries::new(points, line.filled()).point_size(4))?;
        names.extend(curve.points.last().map(|end| (canvas.backend_coord(end), curve.name.as_str(), line)));
    }
    names.sort_by_key(|((_, y), _, _)| *y);
    let heights = spread(names.iter().map(|((_, y), _, _)| *y).collect());
    for (((x, y), name, line), height) in names.into_iter().zip(heights) {
        let at = (x + NAME_GAP, height);
        paper.draw(&PathElement::new([(x + 6, y), (at.0 - 4, height)], line.color.stroke_width(1)))?;
        paper.draw(&Text::new(name, (at.0, height - NAME_HEIGHT / 3), label.clone()))?;
    }
    paper.present()?;
    drop((canvas, paper));
    let title = format!("<title>{}</title>{DARK}", chart.title);
    Ok(match svg.find("<rect") {
        Some(first) => format!("{}{title}\n{}", &svg[..first], &svg[first..]),
        None => svg,
    })
}

/// 1, 2, 5, 10, 20, 50 and so on, as far as they are between the two.
fn steps(lowest: f64, highest: f64) -> Vec<f64> {
    let powers = (-3..=9).map(|power| 10_f64.powi(power));
    let steps = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * power));
    steps.filter(|step| (lowest..=highest).contains(step)).collect()
}

/// Heights of names that don't cover each other, each as near to its own (ascending) as that allows.
fn spread(mut heights: Vec<i32>) -> Vec<i32> {
    let mut least = i32::MIN;
    for height in &mut heights {
        *height = least.max(*height);
        least = *height + NAME_HEIGHT;
    }
    let mut most = i32::try_from(SIZE.1).unwrap_or(i32::MAX) - NAME_HEIGHT;
    for height in heights.iter_mut().rev() {
        *height = most.min(*height);
        most = *height - NAME_HEIGHT;
    }
    heights
}

/// Thousands apart, as in 1,000,000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Figures;

    fn row(name: &str, stored: u64, p50_ms: f64) -> Row {
        Row::new(name, 1, Figures { p50_ms, per_second: 1.0, ..Figures::default() }).at(stored)
    }

    #[test]
    fn numbers_are_written_in_groups() {
        assert_eq!(["1", "256", "10,000", "1,000,000"], [1, 256, 10_000, 1_000_000].map(grouped)[..]);
    }

    #[test]
    fn names_keep_their_distance_and_stay_on_the_paper() {
        assert_eq!(spread(vec![10, 12, 100]), [10, 29, 100]);
        assert_eq!(spread(vec![400, 430, 439]), [383, 402, 421]);
    }

    #[test]
    fn an_axis_is_labelled_in_round_numbers() {
        assert_eq!(steps(0.8, 25.0), [1.0, 2.0, 5.0, 10.0, 20.0]);
    }

    #[test]
    fn rows_of_one_name_are_one_curve_in_order() {
        let rows = [
            row("list", 1_000_000, 3.0),
            row("search", 10_000, 9.0),
            row("list", 10_000, 7.0),
            row("list", 10_000, 2.0),
        ];
        let curves = curves(&rows.iter().collect::<Vec<_>>(), |row| Some((row.stored?, row.figures.p50_ms)));
        assert_eq!(curves.len(), 2);
        assert_eq!(curves[0].points, [(10_000, 2.0), (1_000_000, 3.0)]);
    }

    #[test]
    fn a_picture_names_its_axes_and_curves_and_knows_the_dark() {
        let rows = [row("list", 10_000, 2.0), row("list", 1_000_000, 3.0)];
        let curves = curves(&rows.iter().collect::<Vec<_>>(), |row| Some((row.stored?, row.figures.p50_ms)));
        let svg = draw(&Chart { title: "Latency", x: "conversations", y: "ms", curves }).unwrap();
        for part in
            ["Latency", "conversations", "1,000,000", "list", "<polyline", "prefers-color-scheme: dark"]
        {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
    }
}
