//! Runs over time, as stacked bars.

use maud::{Markup, html};
use oncekey_core::{Run, Timestamp};

use crate::format::kind;

/// Bars in the plot.
const BARS: usize = 48;
/// The plot's own units.
const WIDTH: usize = 960;
const HEIGHT: usize = 120;
/// From the bottom of a bar to its top.
const KINDS: [(&str, &str); 5] = [
    ("good", "completed"),
    ("stopped", "cancelled"),
    ("busy", "executing"),
    ("idle", "queued or waiting"),
    ("bad", "failed"),
];

/// Draws when `runs` were created, between `from` and `now`, and what became of them.
pub(crate) fn chart(runs: &[Run], from: Timestamp, now: Timestamp) -> Markup {
    let width = now.since(from).as_millis().max(1);
    let mut bars = [[0usize; KINDS.len()]; BARS];
    for run in runs {
        let place = run.spec.created_at.since(from).as_millis() * BARS as u128 / width;
        let bar = &mut bars[usize::try_from(place).unwrap_or(0).min(BARS - 1)];
        if let Some(kind) = KINDS.iter().position(|(name, _)| *name == kind(run.status)) {
            bar[kind] += 1;
        }
    }
    let highest = bars.iter().map(|bar| bar.iter().sum::<usize>()).max().unwrap_or(0).max(1);
    let step = WIDTH / BARS;
    html! {
        figure.chart {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                aria-label=(format!("Runs over time: {} runs, at most {highest} in one bar", runs.len())) {
                @for (place, bar) in bars.iter().enumerate() {
                    @let told = told(bar, from, width, place);
                    @for (kind, (top, height)) in stacked(bar, highest).into_iter().enumerate() {
                        @if bar[kind] > 0 {
                            rect class=(KINDS[kind].0) x=(place * step + 1) y=(format!("{top:.1}")) width=(step - 2)
                                height=(format!("{height:.1}")) { title { (told) } }
                        }
                    }
                }
            }
            figcaption {
                span { (crate::format::moment(from, now)) }
                span.legend {
                    @for (kind, (class, name)) in KINDS.iter().enumerate() {
                        @if bars.iter().any(|bar| bar[kind] > 0) { span class=(format!("key {class}")) { (name) } }
                    }
                    span { "at most " (highest) " a bar" }
                }
                span { "now" }
            }
        }
    }
}

/// Top and height of each part of a bar, from the bottom up.
fn stacked(bar: &[usize; KINDS.len()], highest: usize) -> Vec<(f64, f64)> {
    let mut top = HEIGHT as f64;
    let part = |count: &usize| {
        let height = HEIGHT as f64 * *count as f64 / highest as f64;
        top -= height;
        (top, height)
    };
    bar.iter().map(part).collect()
}

/// What a bar says when it is hovered over.
fn told(bar: &[usize; KINDS.len()], from: Timestamp, width: u128, place: usize) -> String {
    let begins = from.millis() + (width * place as u128 / BARS as u128) as i64;
    let parts =
        KINDS.iter().zip(bar).filter(|(_, count)| **count > 0).map(|((_, name), count)| format!("{count} {name}"));
    format!("from {}: {}", Timestamp::from_millis(begins), parts.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_bar_stand_on_one_another() {
        assert_eq!(stacked(&[1, 0, 0, 0, 3], 4), [(90.0, 30.0), (90.0, 0.0), (90.0, 0.0), (90.0, 0.0), (0.0, 90.0)]);
    }
}
