//! Tables for spreadsheets (RFC 4180): UTF-8, commas, CRLF, names of columns in the first line.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use csv::{ReaderBuilder, StringRecord};

use crate::limits::SHEET_ROWS_MAX;

/// A table as a file of this name.
pub(super) fn file(name: &str, body: Body) -> Response {
    let kind = (CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned());
    ([kind, (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))], body).into_response()
}

/// One line of a table.
pub fn line<'c>(cells: impl Iterator<Item = &'c str>) -> String {
    cells.map(cell).collect::<Vec<String>>().join(",") + "\r\n"
}

/// A spreadsheet takes what begins like a formula for one: such a cell gets an apostrophe first. Digits with a sign are a
/// number to it and can do nothing: they stay as they are.
fn cell(text: &str) -> String {
    let text = match begins_a_formula(text) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn begins_a_formula(text: &str) -> bool {
    let is_number = text.strip_prefix(['+', '-']).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number
}

/// One row that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The line that it begins in, from 1.
    pub(super) line: u64,
    /// Its cells by column, trimmed; apostrophes that [`cell`] put there are gone.
    pub(super) cells: BTreeMap<&'static str, String>,
}

/// Reads a table of some of these columns, `needed` among them. Semicolons between cells are taken as well as commas, and
/// so is the mark that some programs put first. The error says what is wrong with the table as a whole.
pub(super) fn read(bytes: &[u8], columns: &[&'static str], needed: &[&str]) -> Result<Vec<Row>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|fault| format!("found {fault}, expected UTF-8"))?;
    let first = text.lines().next().unwrap_or_default();
    let delimiter = if first.contains(';') && !first.contains(',') { b';' } else { b',' };
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let heads = reader.headers().map_err(|fault| fault.to_string())?.clone();
    let mut known = Vec::new();
    for head in &heads {
        let column = columns.iter().find(|column| head.trim().eq_ignore_ascii_case(column));
        let column =
            *column.ok_or_else(|| format!("found the column {head:?}, expected some of {}", columns.join(", ")))?;
        if known.contains(&column) {
            return Err(format!("found the column {column} twice"));
        }
        known.push(column);
    }
    if let Some(missing) = needed.iter().find(|needed| !known.contains(*needed)) {
        return Err(format!("found no column {missing}, expected it in the first line"));
    }
    let (mut rows, mut line) = (Vec::new(), Lines { bytes: text.as_bytes(), counted: 0, line: 1 });
    for record in reader.records() {
        let record = record.map_err(|fault| fault.to_string())?;
        if rows.len() == SHEET_ROWS_MAX {
            return Err(format!("found more than {SHEET_ROWS_MAX} rows, expected fewer: divide the table"));
        }
        let begins = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(0));
        rows.push(row(&known, &record, line.of(begins)));
    }
    Ok(rows)
}

/// Which line a place is in. The reader counts a line only when it takes the last byte of its end.
struct Lines<'t> {
    bytes: &'t [u8],
    counted: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the first byte from here on that ends no line. Places come in order.
    fn of(&mut self, begins: usize) -> u64 {
        let rest = self.bytes.get(begins..).unwrap_or_default();
        let ends = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.bytes.get(self.counted..begins + ends).unwrap_or_default();
        self.line += u64::try_from(passed.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0);
        self.counted = begins + ends;
        self.line
    }
}

fn row(known: &[&'static str], record: &StringRecord, line: u64) -> Row {
    let plain = |cell: &str| {
        let cell = cell.trim();
        let own = cell.strip_prefix('\'').filter(|rest| rest.starts_with(['=', '+', '-', '@']));
        own.unwrap_or(cell).to_owned()
    };
    let cells = known.iter().copied().zip(record.iter().map(plain)).collect();
    Row { line, cells }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formula_leaves() {
        let cells = ["plain", "a,b", "he said \"no\"", "two\r\nlines", "=1+1", "+918065978002", "-1", "@x", "+1-1", ""];
        let expected = "plain,\"a,b\",\"he said \"\"no\"\"\",\"two\r\nlines\",'=1+1,+918065978002,-1,'@x,'+1-1,\r\n";
        assert_eq!(line(cells.into_iter()), expected);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let cells = ["+918065978002", "=SUM(A1)", "Asha, \"Textiles\"", "two\nlines"];
        let heads = ["number", "state", "organisation", "provider"];
        let written = line(heads.into_iter()) + &line(cells.into_iter());
        for text in [written.clone(), format!("\u{feff}{written}")] {
            let rows = read(text.as_bytes(), &heads, &["number"]).unwrap();
            assert_eq!((rows.len(), rows[0].line), (1, 2));
            assert_eq!(heads.map(|head| rows[0].cells[head].as_str()), cells);
        }
        let rows = read(b"Number;State\r\n1;x\r\n\r\n2;y\r\n", &heads, &["number"]).unwrap();
        let lines: Vec<(u64, &str)> = rows.iter().map(|row| (row.line, row.cells["state"].as_str())).collect();
        assert_eq!(lines, [(2, "x"), (4, "y")]);
    }

    #[test]
    fn a_table_that_cannot_be_is_refused_as_a_whole() {
        let heads = ["number", "state"];
        let fault = |text: &[u8]| read(text, &heads, &["number"]).unwrap_err();
        assert_eq!(fault(b"number,colour\n1,red\n"), "found the column \"colour\", expected some of number, state");
        assert_eq!(fault(b"state\nx\n"), "found no column number, expected it in the first line");
        assert_eq!(fault(b""), "found no column number, expected it in the first line");
        assert_eq!(fault(b"number,number\n1,2\n"), "found the column number twice");
        assert!(fault(b"number,state\n1,2,3\n").contains("line: 2"), "{}", fault(b"number,state\n1,2,3\n"));
        assert!(fault(b"number\n\xff\n").contains("expected UTF-8"));
        let many = format!("number\n{}", "1\n".repeat(SHEET_ROWS_MAX + 1));
        assert!(fault(many.as_bytes()).contains("more than 10000 rows"));
    }
}
