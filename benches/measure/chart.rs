//! Pictures: bars for the comparison, lines for the long run.

use crate::figures::{Samples, rows};
use crate::subject::Subject;
use crate::table::short;
use std::fmt::Write;

const BAR_HEIGHT: usize = 18;
const BAR_WIDTH: f64 = 400.0;
const BAR_LEFT: f64 = 190.0;

/// One group of bars for each figure: medians, a line from the least to the most, each group to its own scale.
pub(crate) fn bars(samples: &Samples) -> String {
    let (mut body, mut y) = (String::new(), 10);
    let mut titles: Vec<&str> = rows().map(|row| row.title).collect();
    titles.dedup();
    for title in titles {
        let group: Vec<_> = rows().filter(|row| row.title == title).collect();
        let Some(first) = group.first() else { continue };
        let subjects: Vec<Subject> =
            [first.subject].into_iter().chain(group.iter().filter_map(|row| row.beside)).collect();
        let figures =
            subjects.into_iter().filter_map(|subject| Some((subject, samples.figure(subject, first.measure)?)));
        let figures: Vec<_> = figures.collect();
        let most = figures.iter().map(|(_, figure)| figure.percentile(100)).fold(0.0, f64::max);
        if most <= 0.0 {
            continue;
        }
        y += BAR_HEIGHT;
        let _ = writeln!(body, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{title}</text>");
        for (subject, figure) in figures {
            let [median, least, top] = [figure.median(), figure.percentile(0), figure.percentile(100)];
            let at = |value: f64| BAR_LEFT + value / most * BAR_WIDTH;
            y += BAR_HEIGHT;
            let middle = y - 4;
            let _ = writeln!(
                body,
                "<text x=\"20\" y=\"{y}\">{}</text><rect x=\"{BAR_LEFT}\" y=\"{}\" width=\"{:.0}\" height=\"12\" fill=\"{}\"/>\
                 <path d=\"M{:.0} {middle}H{:.0}\" stroke=\"black\"/><text x=\"{:.0}\" y=\"{y}\">{}</text>",
                subject.title(),
                y - 10,
                at(median) - BAR_LEFT,
                subject.colour(),
                at(least),
                at(top),
                at(top) + 8.0,
                short(median),
            );
        }
        y += BAR_HEIGHT / 2;
    }
    svg(700, y + 20, &body)
}

/// A title, and a point for each place from left to right.
pub(crate) struct Line<'t> {
    pub(crate) title: &'t str,
    pub(crate) points: Vec<f64>,
}

const LINE_HEIGHT: usize = 90;

/// Lines one below the other, each from 0 to its own highest point; `marks` are places with a word.
pub(crate) fn lines(lines: &[Line<'_>], marks: &[(f64, String)]) -> String {
    let mut body = String::new();
    let height = 40 + lines.len() * LINE_HEIGHT;
    for (part, word) in marks {
        let x = 20.0 + part * 860.0;
        let _ = writeln!(
            body,
            "<path d=\"M{x:.1} 20V{}\" stroke=\"#cccccc\"/><text x=\"{:.1}\" y=\"14\" font-size=\"10\">{word}</text>",
            height - 20,
            x + 2.0
        );
    }
    for (place, line) in lines.iter().enumerate() {
        let bottom = 20 + (place + 1) * LINE_HEIGHT;
        let most = line.points.iter().copied().fold(0.0, f64::max);
        let step = 860.0 / line.points.len().saturating_sub(1).max(1) as f64;
        let points = line.points.iter().enumerate().map(|(at, value)| {
            let part = if most > 0.0 { value / most } else { 0.0 };
            format!("{:.1},{:.1}", 20.0 + at as f64 * step, bottom as f64 - part * (LINE_HEIGHT as f64 - 30.0))
        });
        let _ = writeln!(
            body,
            "<text x=\"24\" y=\"{}\">{}, at most {}</text><polyline fill=\"none\" stroke=\"#1b6ca8\" points=\"{}\"/>",
            bottom - LINE_HEIGHT + 22,
            line.title,
            short(most),
            points.collect::<Vec<_>>().join(" ")
        );
    }
    svg(900, height, &body)
}

fn svg(width: usize, height: usize, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Measure;

    #[test]
    fn bars_are_as_long_as_their_medians_are_great() {
        let mut samples = Samples::default();
        assert_eq!(bars(&samples).matches("<rect").count(), 1, "the background alone");
        samples.add(1, Subject::Ours, Measure::HighestRate, 40_000.0);
        samples.add(1, Subject::Kamailio, Measure::HighestRate, 10_000.0);
        let text = bars(&samples);
        assert_eq!(text.matches("<rect").count(), 3);
        assert!(text.contains("width=\"400\" height=\"12\" fill=\"#1b6ca8\""), "{text}");
        assert!(text.contains("width=\"100\" height=\"12\" fill=\"#c98a1b\""), "{text}");
    }

    #[test]
    fn a_line_goes_from_its_least_to_its_highest_point() {
        let line = Line { title: "open files", points: vec![0.0, 20.0, 10.0] };
        let text = lines(&[line], &[(0.5, "reload".to_owned())]);
        assert!(text.contains("points=\"20.0,110.0 450.0,50.0 880.0,80.0\""), "{text}");
        assert!(text.contains("open files, at most 20") && text.contains(">reload</text>"), "{text}");
        assert!(lines(&[Line { title: "nothing", points: vec![] }], &[]).contains("at most 0"));
    }
}
