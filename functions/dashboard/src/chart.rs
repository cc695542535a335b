//! Runs over time, as stacked bars.

use maud::{Markup, html};
use oncekey_core::{Run, Timestamp};

use crate::format::Kind;

/// Bars in the plot.
const BARS: usize = 48;
/// The plot's own units.
const WIDTH: usize = 960;
const HEIGHT: usize = 120;
/// How many runs of a bar are of each kind, from its bottom to its top.
type Bar = [usize; Kind::ALL.len()];

/// Draws when `runs` were created, between `from` and `now`, and what became of them.
pub(crate) fn chart(runs: &[Run], from: Timestamp, now: Timestamp) -> Markup {
    let width = now.since(from).as_millis().max(1);
    let mut bars = [Bar::default(); BARS];
    for run in runs {
        let place = run.spec.created_at.since(from).as_millis() * BARS as u128 / width;
        let bar = &mut bars[usize::try_from(place).unwrap_or(0).min(BARS - 1)];
        for (count, kind) in bar.iter_mut().zip(Kind::ALL) {
            *count += usize::from(kind == Kind::of(run.status));
        }
    }
    let highest = bars.iter().map(|bar| bar.iter().sum::<usize>()).max().unwrap_or(0).max(1);
    let step = WIDTH / BARS;
    html! {
        figure.chart {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img"
                aria-label=(format!("Runs over time: {} runs, at most {highest} in one bar", runs.len())) {
                @for (place, bar) in bars.iter().enumerate() {
                    @let title = title(bar, from, width, place);
                    @for (kind, (top, height)) in stacked(bar, highest).into_iter().enumerate() {
                        @if bar[kind] > 0 {
                            rect class=(Kind::ALL[kind].class()) x=(place * step + 1) y=(format!("{top:.1}")) width=(step - 2)
                                height=(format!("{height:.1}")) { title { (title) } }
                        }
                    }
                }
            }
            figcaption {
                span { (crate::format::moment(from, now)) }
                span.legend {
                    @for (place, kind) in Kind::ALL.into_iter().enumerate() {
                        @if bars.iter().any(|bar| bar[place] > 0) { span class=(format!("key {}", kind.class())) { (kind.name()) } }
                    }
                    span { "at most " (highest) " a bar" }
                }
                span { "now" }
            }
        }
    }
}

/// Top and height of each part of a bar, from the bottom up.
fn stacked(bar: &Bar, highest: usize) -> Vec<(f64, f64)> {
    let mut top = HEIGHT as f64;
    let part = |count: &usize| {
        let height = HEIGHT as f64 * *count as f64 / highest as f64;
        top -= height;
        (top, height)
    };
    bar.iter().map(part).collect()
}

/// What a bar says when it is hovered over.
fn title(bar: &Bar, from: Timestamp, width: u128, place: usize) -> String {
    let begins = from.millis() + (width * place as u128 / BARS as u128) as i64;
    let counts = Kind::ALL.into_iter().zip(bar).filter(|(_, count)| **count > 0);
    let parts = counts.map(|(kind, count)| format!("{count} {}", kind.name()));
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
