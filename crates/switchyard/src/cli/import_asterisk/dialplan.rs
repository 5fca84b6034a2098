//! A generated dialplan, as far as it says where DIDs go: literal extensions, and the first `Goto` or `Dial` of each.

use serde::Serialize;
use std::fmt;

/// What a dialplan says of numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Dialplan {
    /// Literal numbers in the order of the file.
    pub(super) extensions: Vec<Extension>,
    /// Patterns that match numbers, in the order of the file.
    pub(super) patterns: Vec<Pattern>,
    /// Lines that say something of a number and cannot be understood.
    pub(super) odd: Vec<OddLine>,
}

/// A number that is spelled out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Extension {
    /// As it is written.
    pub(super) number: String,
    /// The line of its first priority, from 1.
    pub(super) line: usize,
    /// Where its calls go; `None` while no priority has said so.
    pub(super) goes: Option<Goes>,
}

/// Where an extension sends its calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Goes {
    /// Into a context of the PBX that has the dialplan, as this number.
    Context { context: String, number: String },
    /// To another PBX by an endpoint, as this number.
    Endpoint { endpoint: String, number: String },
}

/// A pattern of numbers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Pattern {
    /// The context that it stands in.
    pub context: String,
    /// For example `_X.`.
    pub pattern: String,
    /// Its line, from 1.
    pub line: usize,
}

/// A line that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct OddLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is the matter, and what was expected.
    pub detail: String,
}

impl fmt::Display for OddLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.detail)
    }
}

/// The extension that a line of `same` goes on with.
#[derive(Clone, Copy)]
enum Open {
    Nothing,
    Literal,
    Pattern,
}

impl Dialplan {
    /// Reads a file of `extensions.conf`'s form. Nothing of it is refused: what cannot be understood is listed.
    pub(super) fn read(text: &str) -> Dialplan {
        let mut plan = Dialplan::default();
        let (mut context, mut open) = (String::new(), Open::Nothing);
        for (line, text) in (1..).zip(text.lines()) {
            let text = without_comment(text).trim();
            if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name) {
                (context, open) = (name.to_owned(), Open::Nothing);
            } else if let Some(value) = value_of(text, "exten") {
                open = plan.exten(&context, line, value);
            } else if let Some(value) = value_of(text, "same") {
                // `same => n,Application(..)`
                let application = value.split_once(',').map_or("", |(_, application)| application);
                if matches!(open, Open::Literal) {
                    plan.goes_on(line, application);
                }
            }
        }
        plan
    }

    /// `exten => NAME,PRIORITY,Application(..)`
    fn exten(&mut self, context: &str, line: usize, value: &str) -> Open {
        let mut parts = value.splitn(3, ',').map(str::trim);
        let (Some(name), Some(_), Some(application)) = (parts.next(), parts.next(), parts.next()) else {
            self.odd(line, format!("found {value:?}, expected NAME,PRIORITY,APPLICATION"));
            return Open::Nothing;
        };
        // A name may have a caller behind it: `NAME/CALLER`.
        let name = name.split_once('/').map_or(name, |(name, _)| name);
        if name.starts_with('_') {
            let is_new = !self.patterns.iter().any(|known| known.context == context && known.pattern == name);
            if is_new {
                self.patterns.push(Pattern { context: context.to_owned(), pattern: name.to_owned(), line });
            }
            return Open::Pattern;
        }
        let is_number = name.bytes().filter(u8::is_ascii_digit).count() >= NUMBER_DIGITS_MIN
            && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+');
        if !is_number {
            // `s`, `i`, `h` and short numbers are the PBX's own affair.
            return Open::Nothing;
        }
        if self.extensions.last().is_none_or(|last| last.number != name) {
            self.extensions.push(Extension { number: name.to_owned(), line, goes: None });
        }
        self.goes_on(line, application);
        Open::Literal
    }

    /// One more application of the last extension: the first that sends the call anywhere counts.
    fn goes_on(&mut self, line: usize, application: &str) {
        let Some(last) = self.extensions.last_mut().filter(|last| last.goes.is_none()) else { return };
        let Some((name, rest)) = application.trim().split_once('(') else { return };
        let arguments = rest.trim_end().strip_suffix(')').unwrap_or(rest);
        let literal = |number: &str| if number == "${EXTEN}" { last.number.clone() } else { number.to_owned() };
        let goes = match name.trim().to_ascii_lowercase().as_str() {
            "goto" | "gosub" => {
                let mut parts = arguments.split(',').map(str::trim);
                parts
                    .next()
                    .zip(parts.next())
                    .map(|(context, number)| Goes::Context { context: context.to_owned(), number: literal(number) })
            }
            "dial" => arguments
                .split(',')
                .next()
                .and_then(|target| target.trim().split_once('/'))
                .and_then(|(_, target)| target.rsplit_once('@'))
                .map(|(number, endpoint)| Goes::Endpoint { endpoint: endpoint.to_owned(), number: literal(number) }),
            _ => return,
        };
        match goes {
            Some(goes) => last.goes = Some(goes),
            None => {
                let detail = format!(
                    "found {:?}, expected Goto(CONTEXT,NUMBER,PRIORITY) or Dial(PJSIP/NUMBER@ENDPOINT,..)",
                    application.trim()
                );
                self.odd(line, detail);
            }
        }
    }

    fn odd(&mut self, line: usize, detail: String) {
        self.odd.push(OddLine { line, detail });
    }
}

/// A name with fewer digits is an extension of the PBX, and no DID.
const NUMBER_DIGITS_MIN: usize = 7;

/// What stands behind `KEY =>` or `KEY =`.
fn value_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(key)?.trim_start().strip_prefix('=')?;
    Some(rest.strip_prefix('>').unwrap_or(rest).trim())
}

/// A semicolon begins a comment, unless a backslash stands before it.
fn without_comment(line: &str) -> &str {
    let mut is_escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b';' if !is_escaped => return line.get(..at).unwrap_or_default(),
            _ => is_escaped = byte == b'\\',
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goto_or_dial_of_a_number_counts() {
        let plan = Dialplan::read(
            "; generated\n[tata-did-route]\nexten => 918065978002,1,NoOp(a;b)\n same => n,Goto(org_a__incoming,918065978002,1)\n \
             same => n,Hangup()\nexten=08065978001,1,Dial(PJSIP/${EXTEN}@cloud-endpoint-stage,120) ; staging\n\
             exten => _X.,1,NoOp(no route)\n same => n,Goto(nowhere,s,1)\nexten => s,1,Answer()\nexten => 101,1,Dial(PJSIP/a)\n",
        );
        let goes: Vec<_> =
            plan.extensions.iter().map(|found| (found.number.as_str(), found.line, found.goes.clone())).collect();
        let context = Goes::Context { context: "org_a__incoming".to_owned(), number: "918065978002".to_owned() };
        let endpoint = Goes::Endpoint { endpoint: "cloud-endpoint-stage".to_owned(), number: "08065978001".to_owned() };
        assert_eq!(goes, [("918065978002", 3, Some(context)), ("08065978001", 6, Some(endpoint))]);
        assert_eq!(plan.patterns.len(), 1);
        assert_eq!((plan.patterns[0].pattern.as_str(), plan.patterns[0].line), ("_X.", 7));
        assert_eq!(plan.odd, []);
    }

    #[test]
    fn what_cannot_be_understood_is_listed() {
        let plan = Dialplan::read(
            "exten => 918065978002\nexten => 918065978003,1,Goto(somewhere)\nexten => 918065978004,1,Dial(${TRUNK})\n",
        );
        let lines: Vec<usize> = plan.odd.iter().map(|odd| odd.line).collect();
        assert_eq!(lines, [1, 2, 3]);
        assert!(plan.extensions.iter().all(|found| found.goes.is_none()));
    }
}
