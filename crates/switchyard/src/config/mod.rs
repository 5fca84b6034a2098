//! The configuration: a TOML file becomes a [`Configuration`], or every fault that it has.
//!
//! [`settings`] is what the file says, [`resolve`] what it means; `document` keeps the line of every key between the
//! two, [`value`] reads the small languages inside strings, [`fault`] is how a fault is told, [`summary`] what a good
//! file means in a few lines.

mod document;
mod environment_file;
pub mod fault;
pub mod limits;
pub mod quota;
pub mod resolve;
pub mod settings;
pub mod summary;
pub mod value;

#[cfg(test)]
mod tests;

pub use document::Variables;
pub(crate) use environment_file::variables;
pub use fault::{Fault, Faults, Key, Place};
pub use resolve::{Answer, Answers, Capture, Configuration, Dns, Named, NamedSource, Probe, Records, Written};

use document::Document;
use std::io::Read;
use std::path::Path;

/// The variable that overrides the key `environment`.
pub const ENVIRONMENT_VARIABLE: &str = "ASTRADIAL_ENV";
/// The variable that overrides the key `records.webhook_url`.
pub const WEBHOOK_VARIABLE: &str = "CALL_LOG_WEBHOOK_URL";

/// Reads and resolves the file at `path`, with the variables of this process and of the file `environment`
/// beside it.
pub fn load(path: &Path) -> Result<Configuration, Faults> {
    let file = path.display().to_string();
    let text = read_file(path).map_err(|(found, expected)| {
        Faults::new(&file, vec![Fault { place: Place::File, key: Key::default(), found, expected, why: None }])
    })?;
    read(&file, &text, &variables(path))
}

/// Resolves the text of a file; `file` is what faults call it.
pub fn read(file: &str, text: &str, variables: Variables<'_>) -> Result<Configuration, Faults> {
    read_with(file, text, variables, &Answers::new())
}

/// The same with the addresses of host names. A name without one is no fault: its peer is not there yet.
fn read_with(file: &str, text: &str, variables: Variables<'_>, answers: &Answers) -> Result<Configuration, Faults> {
    let (read, mut faults) = Document::read(text, variables);
    let configuration =
        read.map(|(document, settings)| resolve::resolve(&document, &settings, variables, answers, &mut faults));
    match configuration {
        Some(configuration) if faults.is_empty() => {
            let written = Written { file: file.to_owned(), text: text.to_owned() };
            Ok(Configuration { written, ..configuration })
        }
        _ => Err(Faults::new(file, faults)),
    }
}

/// The file's text. The error is what was found and what was expected.
fn read_file(path: &Path) -> Result<String, (String, String)> {
    let unreadable = |error: std::io::Error| (format!("no readable file: {error}"), "a configuration file".to_owned());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(limits::FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits::FILE_BYTES {
        return Err((format!("more than {} bytes", limits::FILE_BYTES), "a configuration file".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        (format!("bytes that are no UTF-8 at offset {offset}"), "a text file".to_owned())
    })
}
