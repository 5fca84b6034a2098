//! The form of a `.call` file: lines to steps. fixtures/calls/README.md is the description; this reads it.

use std::time::Duration;

/// A whole file.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// `key: value` lines before the first step.
    pub(crate) head: Vec<Setting>,
    pub(crate) steps: Vec<Step>,
}

/// One line of the head.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// One step with the line that it stands on.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) what: What,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum What {
    /// The clock stands at this time since the start.
    At(Duration),
    /// The clock goes on by this much.
    After(Duration),
    /// `from -> us`: bytes arrive.
    Arrives { from: String, at: String, message: Message },
    /// `us -> to`: bytes must have left, now or within a time.
    Leaves { from: String, to: String, within: Duration, message: Message },
    /// The following short forms belong to this call.
    Call(String),
    /// The last thing that arrived was dropped, for this reason.
    Dropped(String),
    /// This was counted since the last arrival or clock step.
    Event(String),
    /// From here on, what has left before may leave again unasked; or no longer.
    SkipAgain(bool),
    /// The engine is thrown away; a new one has the same keys, and the calls in progress where its journal kept them.
    Restart { with_calls: bool },
    /// So many calls are in progress.
    Calls(usize),
    /// A party cannot be reached: ICMP for what was sent last.
    Unreachable(String),
    /// What people or probes say of a peer.
    Peer(String, String),
    /// One row of the directory changes.
    Table(String),
    /// Something begins or ends that lies over the rows.
    Overlay(String),
    /// One setting changes, as when the configuration is read again.
    Set(Setting),
    /// No new calls, or calls again.
    Drain(bool),
    /// Nothing more is sent, ever, and every transaction ends.
    NothingMore,
}

/// What is written behind an arrow and in the lines below.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) words: Vec<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) without: Vec<String>,
    pub(crate) body: Option<Vec<String>>,
    pub(crate) raw: Vec<String>,
}

impl Text {
    pub(crate) fn parse(text: &str) -> Result<Text, String> {
        let mut out = Text::default();
        for (at, full) in text.lines().enumerate() {
            out.line(at + 1, full).map_err(|fault| format!("line {}: {fault}", at + 1))?;
        }
        if out.steps.is_empty() {
            return Err("found no step, expected at least one `at 0 ms`".into());
        }
        Ok(out)
    }

    fn line(&mut self, number: usize, full: &str) -> Result<(), String> {
        let line = full.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(piped) = line.strip_prefix('|') {
            return self.message()?.pipe(piped.strip_prefix(' ').unwrap_or(piped));
        }
        if let Some(rest) = clock(line)? {
            let (what, rest) = rest;
            self.steps.push(Step { line: number, what });
            return if rest.is_empty() { Ok(()) } else { self.line(number, &rest) };
        }
        if self.steps.is_empty() {
            self.head.push(setting(number, line)?);
            return Ok(());
        }
        if let Some(what) = arrow(line)? {
            self.steps.push(Step { line: number, what });
            return Ok(());
        }
        if self.message_line(line)? {
            return Ok(());
        }
        let what = keyword(number, line)?;
        self.steps.push(Step { line: number, what });
        Ok(())
    }

    fn message(&mut self) -> Result<&mut Message, String> {
        match self.steps.last_mut().map(|step| &mut step.what) {
            Some(What::Arrives { message, .. } | What::Leaves { message, .. }) => Ok(message),
            _ => Err("found a line of a message, expected an arrow before it".into()),
        }
    }

    /// `Name: value`, `- Name`, `body` and `body none` below an arrow.
    fn message_line(&mut self, line: &str) -> Result<bool, String> {
        if let Some(name) = line.strip_prefix("- ") {
            self.message()?.without.push(name.trim().into());
        } else if line == "body none" || line == "body" {
            self.message()?.body = Some(Vec::new());
        } else if let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_token(name)) {
            self.message()?.headers.push((name.into(), value.trim().into()));
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

impl Message {
    fn pipe(&mut self, line: &str) -> Result<(), String> {
        let is_raw = self.words.iter().any(|word| word == "raw" || word == "exactly");
        match &mut self.body {
            Some(body) => body.push(line.into()),
            None if is_raw => self.raw.push(line.into()),
            None => return Err("found `|`, expected `raw`, `exactly` or `body` before it".into()),
        }
        Ok(())
    }

    /// The lines of a `|` block with CRLF behind each; a `\` at the very end of a line leaves it out.
    pub(crate) fn joined(lines: &[String]) -> String {
        lines
            .iter()
            .map(|line| match line.strip_suffix('\\') {
                Some(open) if !open.ends_with('\\') => open.to_owned(),
                _ => format!("{line}\r\n"),
            })
            .collect()
    }
}

fn clock(line: &str) -> Result<Option<(What, String)>, String> {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    if first != "at" && first != "after" {
        return Ok(None);
    }
    let (number, unit) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let time = duration(&format!("{number} {unit}"))?;
    let rest = words.collect::<Vec<_>>().join(" ");
    Ok(Some((if first == "at" { What::At(time) } else { What::After(time) }, rest)))
}

fn arrow(line: &str) -> Result<Option<What>, String> {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.get(1).is_none_or(|word| word != "->") || words.len() < 4 {
        return Ok(None);
    }
    let rest = words.split_off(3);
    let (to, from) = (words.pop().unwrap_or_default(), words.swap_remove(0));
    let mut message = Message { words: rest, ..Message::default() };
    let is_us = |name: &str| name == "us" || name.starts_with("us.");
    match (is_us(&from), is_us(&to)) {
        (false, true) => Ok(Some(What::Arrives { from, at: to, message })),
        (true, false) => {
            let within = within(&mut message.words)?;
            Ok(Some(What::Leaves { from, to, within, message }))
        }
        _ => Err(format!("found {from} -> {to}, expected `us` on one side")),
    }
}

/// Takes `within N ms` off the end.
fn within(words: &mut Vec<String>) -> Result<Duration, String> {
    match words.iter().position(|word| word == "within") {
        Some(at) => {
            let tail = words.split_off(at);
            duration(&tail.get(1..).unwrap_or_default().join(" "))
        }
        None => Ok(Duration::ZERO),
    }
}

fn keyword(number: usize, line: &str) -> Result<What, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    Ok(match (word, rest) {
        ("call", name) if !name.is_empty() => What::Call(name.into()),
        ("dropped", reason) if !reason.is_empty() => What::Dropped(reason.into()),
        ("event", told) if !told.is_empty() => What::Event(told.into()),
        ("skip", "again") => What::SkipAgain(true),
        ("count", "again") => What::SkipAgain(false),
        ("restart", "") => What::Restart { with_calls: false },
        ("restart", "with its calls") => What::Restart { with_calls: true },
        ("calls", count) => What::Calls(count.parse().map_err(|_| format!("found {count:?}, expected a number"))?),
        ("unreachable", party) if !party.is_empty() => What::Unreachable(party.into()),
        ("table", row) if !row.is_empty() => What::Table(row.into()),
        ("overlay", line) if !line.is_empty() => What::Overlay(line.into()),
        ("set", pair) => What::Set(setting(number, pair)?),
        ("peer", state) => match state.split_once(char::is_whitespace) {
            Some((name, word)) => What::Peer(name.into(), word.trim().into()),
            None => return Err(format!("found peer {state:?}, expected a peer and its state")),
        },
        ("drain", "on") => What::Drain(true),
        ("drain", "off") => What::Drain(false),
        ("nothing", "more") => What::NothingMore,
        _ => {
            return Err(format!(
                "found {line:?}, expected a clock, an arrow, a header, or one of: call, dropped, event, skip again, count \
                 again, restart, unreachable, table, overlay, set, drain, nothing more"
            ));
        }
    })
}

fn setting(line: usize, text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once(':').ok_or_else(|| format!("found {text:?}, expected `key: value`"))?;
    Ok(Setting { line, key: key.trim().into(), value: value.trim().into() })
}

/// `500 ms`, `31.5 s`, `3 min`, `2 h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("found {text:?}, expected a time such as `500 ms`, `31.5 s`, `3 min` or `2 h`");
    let (number, unit) = text.split_once(' ').ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1.0,
        "s" => 1_000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * unit_ms / 1_000.0)
        .map(|time| Duration::from_micros(u64::try_from((time.as_nanos() + 500) / 1_000).unwrap_or(u64::MAX)))
        .map_err(|_| wrong())
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}
