//! The table in Markdown, and its place in a page.

use crate::figures::{Goal, Measure, Row, Samples, rows};
use crate::subject::Subject;
use anyhow::{Result, bail};
use benches::Figure;
use std::fmt::Write;

/// The part of a page between these two lines is the table. `cargo xtask lint` holds it to benches/results/against.md.
const BEGIN: &str = "<!-- written by cargo xtask bench --against -->";
const END: &str = "<!-- end of what was written -->";

/// Under which it was measured.
pub(crate) struct Circumstances {
    pub(crate) rounds: u64,
    pub(crate) seconds: u64,
    pub(crate) rate: u64,
    /// The fixed rate that was asked for.
    wanted: u64,
    kamailio: Option<String>,
    processor: String,
    load: String,
}

impl Circumstances {
    pub(crate) fn now(wanted: u64, kamailio: Option<String>) -> Circumstances {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let processor = processor.map_or("unknown", |(_, name)| name.trim()).to_owned();
        let load = read("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned();
        Circumstances { rounds: 0, seconds: 0, rate: 0, wanted, kamailio, processor, load }
    }
}

/// The table with the circumstances above it, and what went wrong below.
pub(crate) fn part(
    samples: &Samples,
    again: &Samples,
    circumstances: &Circumstances,
    [late, notes]: [&[String]; 2],
) -> String {
    let Circumstances { rounds, seconds, rate, wanted, kamailio, processor, load } = circumstances;
    let why = match rate < wanted {
        true => format!(", the highest below {wanted} that the slowest of them carries"),
        false => String::new(),
    };
    let rounds = if *rounds == 1 { "One round".to_owned() } else { format!("{rounds} rounds") };
    let kamailio = kamailio.as_ref().map_or(String::new(), |version| format!(" Kamailio is `{version}`."));
    let mut out = format!(
        "{rounds} of {seconds} s each; the fixed rate is {rate} calls/s{why}. The processor is `{processor}`, one core for the program under \
         test and one for\nthe load; its load average was {load} when the first round began.{kamailio} A value is the median of the \
         rounds, with the least and\nthe most behind it; a ratio is made within each round, and its median is what the goal is about.\n\n{}",
        rows_of(samples)
    );
    let _ = write!(out, "\n{}", sent_again(again));
    for (title, notes) in
        [("Not carried at first, and measured at the end of the round", late), ("Not measured", notes)]
    {
        if !notes.is_empty() {
            let _ = writeln!(out, "\n{title}:\n");
            notes.iter().for_each(|note| {
                let _ = writeln!(out, "- {note}");
            });
        }
    }
    out
}

/// Messages sent again, of those whose rates are held against each other.
pub(crate) fn sent_again(again: &Samples) -> String {
    let subjects = [Subject::Ours, Subject::Kamailio, Subject::Relay];
    let mut out = String::from("| sent again for each thousand calls; more than 10 is not carried |");
    subjects.iter().for_each(|subject| {
        let _ = write!(out, " {} |", subject.title());
    });
    out.push_str("\n| --- | --- | --- | --- |\n");
    for (title, measure) in [
        ("at the highest rate", Measure::HighestRate),
        ("at the fixed rate", Measure::CpuAtRate),
        ("at half of its own highest rate", Measure::P99AtHalf),
        ("at nine tenths of it", Measure::CpuNearHighest),
    ] {
        let figures = subjects.map(|subject| again.figure(subject, measure));
        let [ours, theirs, relays] = figures.map(|figure| figure.map_or_else(String::new, |figure| in_words(&figure)));
        let _ = writeln!(out, "| {title} | {ours} | {theirs} | {relays} |");
    }
    out
}

/// The table alone.
pub(crate) fn rows_of(samples: &Samples) -> String {
    let mut out = String::from(
        "| figure | ours | beside | theirs | ratio | goal | |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows() {
        let _ = writeln!(out, "{}", line(&row, samples));
    }
    out
}

fn line(row: &Row, samples: &Samples) -> String {
    let told = |figure: Option<Figure>| figure.map_or_else(|| "not measured".to_owned(), |figure| in_words(&figure));
    let ours = told(samples.figure(row.subject, row.measure));
    let (beside, theirs, ratio) = match row.beside {
        Some(other) => {
            let ratio = samples.ratio(row.subject, other, row.measure);
            let ratio = ratio.map_or(String::new(), |ratio| ratio.to_string());
            (other.title(), told(samples.figure(other, row.measure)), ratio)
        }
        None => ("", String::new(), String::new()),
    };
    let goal = match row.goal {
        Goal::AtLeast(bound) => format!("at least {}", short(bound)),
        Goal::AtMost(bound) => format!("at most {}", short(bound)),
        Goal::None => String::new(),
    };
    let verdict = match (row.holds(samples), row.goal) {
        (_, Goal::None) => "",
        (Some(true), _) => "holds",
        (Some(false), _) => "MISSED",
        (None, _) => "not measured",
    };
    format!("| {} | {ours} | {beside} | {theirs} | {ratio} | {goal} | {verdict} |", row.title)
}

fn in_words(figure: &Figure) -> String {
    let [median, least, most] = [figure.median(), figure.percentile(0), figure.percentile(100)].map(short);
    format!("{median} ({least} to {most})")
}

/// Three figures that count, and thousands apart.
pub(crate) fn short(value: f64) -> String {
    if value.abs() < 100.0 {
        let text = if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") };
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let whole = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The page with this part between its two markers, each of which stands once.
pub(crate) fn into_page(page: &str, part: &str) -> Result<String> {
    let Some((head, rest)) = page.split_once(BEGIN) else { bail!("there is no line {BEGIN}") };
    let Some((_, tail)) = rest.split_once(END) else { bail!("there is no line {END} after the first") };
    if rest.contains(BEGIN) || tail.contains(END) {
        bail!("a marker stands twice");
    }
    Ok(format!("{head}{BEGIN}\n\n{part}\n{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let words = [0.756, 1.0, 12.34, 99.96, 999.6, 6_144.0, 1_234_567.0, -4_000.0].map(short);
        assert_eq!(words, ["0.76", "1", "12.3", "100", "1,000", "6,144", "1,234,567", "-4,000"]);
    }

    #[test]
    fn a_line_says_what_was_measured_and_whether_it_holds() {
        let mut samples = Samples::default();
        assert!(
            rows_of(&samples).contains("| not measured | Kamailio | not measured |  | at least 2.5 | not measured |")
        );
        for (round, ours, theirs) in [(1, 40_000.0, 16_000.0), (2, 44_000.0, 16_000.0), (3, 48_000.0, 16_000.0)] {
            samples.add(round, Subject::Ours, Measure::HighestRate, ours);
            samples.add(round, Subject::Kamailio, Measure::HighestRate, theirs);
        }
        let text = rows_of(&samples);
        let wanted = "| highest rate, calls/s | 44,000 (40,000 to 48,000) | Kamailio | 16,000 (16,000 to 16,000) | \
                      2.75 (2.50 to 3.00) | at least 2.5 | holds |\n";
        assert!(text.contains(wanted), "{text}");
        samples.add(1, Subject::Ours, Measure::MemoryRinging, 7_000.0);
        assert!(rows_of(&samples).contains("|  |  |  | at most 6,144 | MISSED |"), "{text}");
    }

    #[test]
    fn what_was_sent_again_and_what_was_carried_late_are_told() {
        let mut again = Samples::default();
        again.add(1, Subject::Kamailio, Measure::CpuAtRate, 2.5);
        let mut circumstances = Circumstances::now(5_000, None);
        circumstances.rate = 4_700;
        let (late, notes) = (["Kamailio, round 1".to_owned()], ["Switchyard, round 2".to_owned()]);
        let text = part(&Samples::default(), &again, &circumstances, [&late, &notes]);
        for wanted in [
            "4700 calls/s, the highest below 5000 that the slowest of them carries.",
            "| at the fixed rate |  | 2.5 (2.5 to 2.5) |  |\n",
            "Not carried at first, and measured at the end of the round:\n\n- Kamailio, round 1\n\nNot measured:\n\n- S",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in {text}");
        }
        circumstances.rate = 5_000;
        let text = part(&Samples::default(), &again, &circumstances, [&[], &[]]);
        assert!(!text.contains("Not ") && text.contains("is 5000 calls/s. The"), "{text}");
    }

    #[test]
    fn the_part_of_a_page_is_written_anew_and_nothing_else() {
        let page = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nmore\n");
        let once = into_page(&page, "| new |\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGIN}\n\n| new |\n\n{END}\n\nmore\n"));
        assert_eq!(into_page(&once, "| new |\n").unwrap(), once);
        assert!(into_page("# Title\n", "").is_err());
        assert!(into_page(&page.replace(END, ""), "").is_err());
        assert!(into_page(&format!("{page}{page}"), "").is_err());
    }
}
