//! Groups of bars, as SVG.

use std::fmt::Write;

/// A group of bars on one scale.
pub(crate) struct Bars {
    pub title: String,
    pub unit: &'static str,
    pub bars: Vec<(String, f64)>,
}

const WIDTH: usize = 720;
const LABEL: usize = 190;
const ROW: usize = 22;

/// Draws groups below one another. The first bar of each is ours.
pub(crate) fn draw(groups: &[Bars]) -> String {
    let height = groups.iter().map(|group| 34 + ROW * group.bars.len()).sum::<usize>() + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let mut y = 22;
    for group in groups {
        let _ = writeln!(svg, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{}</text>", group.title);
        let most = group.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        y += 8;
        for (index, (name, value)) in group.bars.iter().enumerate() {
            let width = value / most * (WIDTH - LABEL - 110) as f64;
            let colour = if index == 0 { "#3f4bc4" } else { "#9aa1ab" };
            let shown = if *value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text><rect x=\"{LABEL}\" y=\"{}\" width=\"{width:.1}\" \
                 height=\"15\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\">{shown} {}</text>",
                LABEL - 8,
                y + 14,
                y + 2,
                LABEL as f64 + width + 6.0,
                y + 14,
                group.unit
            );
            y += ROW;
        }
        y += 26;
    }
    svg.push_str("</svg>\n");
    svg
}
