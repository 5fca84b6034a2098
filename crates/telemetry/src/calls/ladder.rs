//! A call's messages between its parties, drawn as text and as SVG.

use std::fmt::{self, Write};

/// Columns between two life lines.
const WIDTH: usize = 34;
/// The same in the picture, and its rows, in pixels.
const LANE_PX: usize = 220;
const ROW_PX: usize = 26;
const HEAD_PX: usize = 44;
const TIME_PX: usize = 110;

/// Who takes part, from left to right, and what they said to each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ladder {
    /// The parties.
    pub lanes: Vec<String>,
    /// The messages, in order.
    pub steps: Vec<Step>,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Microseconds after the first one.
    pub after_us: u64,
    /// The place of who sent it.
    pub from: usize,
    /// The place of who got it.
    pub to: usize,
    /// What it was.
    pub text: String,
}

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = WIDTH / 2;
        for lane in &self.lanes {
            let lane: String = lane.chars().take(WIDTH - 2).collect();
            write!(f, "{lane:^WIDTH$}")?;
        }
        writeln!(f)?;
        for Step { after_us, from, to, text } in &self.steps {
            let (left, right) = (*from.min(to), *from.max(to));
            write!(f, "{:half$}", "")?;
            let mut lane = 0;
            while lane + 1 < self.lanes.len() {
                if lane == left && right > left {
                    write!(f, "|{}", arrow(text, (right - left) * WIDTH - 1, from < to))?;
                    lane = right;
                } else {
                    write!(f, "|{:gap$}", "", gap = WIDTH - 1)?;
                    lane += 1;
                }
            }
            writeln!(f, "|  {}", milliseconds(*after_us))?;
        }
        Ok(())
    }
}

fn milliseconds(after_us: u64) -> String {
    format!("{:5}.{} ms", after_us / 1_000, after_us / 100 % 10)
}

fn arrow(text: &str, gap: usize, is_rightward: bool) -> String {
    let width = gap.saturating_sub(3);
    let text: String = text.chars().take(width.saturating_sub(3)).collect();
    let line = format!("- {text} ");
    if is_rightward { format!(" {line:-<width$}> ") } else { format!(" <{line:-<width$} ") }
}

impl Ladder {
    /// The picture: a document of its own, with no script and nothing from elsewhere.
    pub fn svg(&self) -> String {
        let x = |lane: usize| TIME_PX + LANE_PX / 2 + lane * LANE_PX;
        let (width, height) = (TIME_PX + self.lanes.len() * LANE_PX, HEAD_PX + (self.steps.len() + 1) * ROW_PX);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"monospace\" font-size=\"13\" role=\"img\">\n<title>The messages of a \
             call</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        for (at, lane) in self.lanes.iter().enumerate() {
            let x = x(at);
            let _infallible = writeln!(
                svg,
                "<text x=\"{x}\" y=\"24\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>\n\
                 <line x1=\"{x}\" y1=\"{HEAD_PX}\" x2=\"{x}\" y2=\"{height}\" stroke=\"#888\"/>",
                escaped(lane)
            );
        }
        for (at, step) in self.steps.iter().enumerate() {
            let y = HEAD_PX + (at + 1) * ROW_PX;
            let (from, to) = (x(step.from), x(step.to));
            let head = if from < to { to.saturating_sub(8) } else { to + 8 };
            let _infallible = writeln!(
                svg,
                "<text x=\"8\" y=\"{y}\" fill=\"#555\">{}</text>\n\
                 <line x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\" stroke=\"black\"/>\n\
                 <polygon points=\"{to},{y} {head},{} {head},{}\"/>\n\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                milliseconds(step.after_us).trim(),
                y - 4,
                y + 4,
                usize::midpoint(from, to),
                y - 5,
                escaped(&step.text)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> Ladder {
        let step = |after_us, from, to, text: &str| Step { after_us, from, to, text: text.to_owned() };
        Ladder {
            lanes: vec!["gateway".to_owned(), "switchyard".to_owned(), "prod".to_owned()],
            steps: vec![
                step(0, 0, 1, "INVITE"),
                step(1_000, 1, 2, "INVITE"),
                step(2_000, 2, 1, "200 OK"),
                step(12_000, 1, 0, "200 OK"),
            ],
        }
    }

    #[test]
    fn a_ladder_shows_each_message_between_the_right_life_lines() {
        let expected = [
            "             gateway                          switchyard                           prod               ",
            "                 | - INVITE ---------------------> |                                 |      0.0 ms",
            "                 |                                 | - INVITE ---------------------> |      1.0 ms",
            "                 |                                 | <- 200 OK --------------------- |      2.0 ms",
            "                 | <- 200 OK --------------------- |                                 |     12.0 ms",
        ];
        let drawn = ladder().to_string();
        assert_eq!(drawn.lines().collect::<Vec<_>>(), expected, "\n{drawn}");
    }

    #[test]
    fn an_arrow_to_a_further_lane_crosses_those_between() {
        let mut ladder = ladder();
        ladder.lanes.push("staging".to_owned());
        ladder.steps = vec![Step { after_us: 0, from: 1, to: 3, text: "INVITE".to_owned() }];
        let line = ladder.to_string().lines().nth(1).unwrap().to_owned();
        assert_eq!(line.matches('|').count(), 3, "{line}");
        assert!(line.contains("> |"), "{line}");
    }

    #[test]
    fn a_picture_escapes_what_others_wrote() {
        let mut ladder = ladder();
        ladder.steps[0].text = "<script>&\u{7}".to_owned();
        let svg = ladder.svg();
        assert!(svg.contains("&lt;script&gt;&amp;\u{fffd}") && !svg.contains("<script"), "{svg}");
        assert_eq!(svg.matches("<polygon").count(), 4);
        assert!(svg.ends_with("</svg>\n"));
    }
}
