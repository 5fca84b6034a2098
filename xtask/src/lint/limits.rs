//! Every number on a table, queue or size is in docs/reference/limits.md, with the value that the code has.

use syn::{Expr, Item, Lit, Visibility};

use super::Finding;
use super::held_by::{Known, tests_in};
use crate::tree::Tree;

const PAGE: &str = "docs/reference/limits.md";

/// The limits are the public constants of every `limits.rs`; a row names the constant and holds its value.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let page = tree.text(PAGE).unwrap_or_default();
    let mut found = Vec::new();
    let sources = tree.rust.iter().filter(|file| file.path.starts_with("crates/") && file.path.ends_with("/limits.rs"));
    for file in sources.filter(|file| !file.is_test()) {
        for item in &file.syntax.items {
            let Item::Const(item) = item else { continue };
            if !matches!(item.vis, Visibility::Public(_)) {
                continue;
            }
            let name = item.ident.to_string();
            let value = literal(&item.expr);
            if let Some(what) = fault(page, &name, value.as_deref()) {
                found.push(Finding::new(&file.path, item.ident.span().start().line, what));
            }
        }
    }
    found
}

/// The last cell of a limit's row names the tests that hold it, and they exist.
pub(super) fn held(tree: &Tree) -> Vec<Finding> {
    let known = Known::of(tree);
    let mut found = Vec::new();
    for (index, line) in tree.text(PAGE).unwrap_or_default().lines().enumerate() {
        let cells: Vec<_> = line.trim().trim_matches('|').split('|').collect();
        let (Some(limit), Some(last)) = (cells.first().filter(|cell| cell.contains("::")), cells.last()) else {
            continue;
        };
        let limit = limit.trim();
        let tests: Vec<_> = tests_in(last).collect();
        if tests.is_empty() {
            found.push(Finding::new(PAGE, index + 1, format!("{limit} names no test")));
        }
        for test in tests.into_iter().filter(|test| !known.has(test)) {
            found.push(Finding::new(PAGE, index + 1, format!("{limit} names {test}, which does not exist")));
        }
    }
    found
}

fn fault(page: &str, name: &str, value: Option<&str>) -> Option<String> {
    let rows: Vec<_> = page.lines().filter(|line| names(line, name)).collect();
    if rows.is_empty() {
        return Some(format!("limit {name} is not in {PAGE}"));
    }
    let value = value?;
    let holds = |row: &&str| numbers(row).iter().any(|number| number == value);
    (!rows.iter().any(holds)).then(|| format!("limit {name} is {value}, its row in {PAGE} does not say so"))
}

/// True when a code span of the line is the name, alone or at the end of a path.
fn names(line: &str, name: &str) -> bool {
    line.split('`').skip(1).step_by(2).any(|span| span.rsplit("::").next() == Some(name))
}

/// The numbers in a row, without their separators: `65,535` and `65_535` are `65535`.
fn numbers(row: &str) -> Vec<String> {
    let mut plain: Vec<char> = Vec::new();
    let letters: Vec<char> = row.chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        let digit = |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(char::is_ascii_digit);
        let separates = matches!(letter, ',' | '_') && digit(index.checked_sub(1)) && digit(Some(index + 1));
        if !separates {
            plain.push(*letter);
        }
    }
    let plain: String = plain.into_iter().collect();
    plain.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The value of a constant that is a plain number.
fn literal(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => Some(number.base10_digits().to_owned()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn a_limit_needs_a_row_with_its_value() {
        let code = ("crates/sip/src/limits.rs", "pub const MESSAGE_BYTES: usize = 65_535;\nconst INNER: u8 = 3;");
        let count = |page: &str| check(&tree(&[code, (PAGE, page)])).len();
        assert_eq!(check(&tree(&[code])).len(), 1);
        assert_eq!(count("| `LINE_BYTES` | 65,535 |"), 1);
        assert_eq!(count("| `MESSAGE_BYTES` | 1,300 |"), 1);
        assert_eq!(count("| `MESSAGE_BYTES` | 165,535 |"), 1);
        assert_eq!(count("| `sip::limits::MESSAGE_BYTES` | 65,535 bytes |"), 0);
    }

    #[test]
    fn a_limit_needs_a_test_that_exists() {
        let code = ("crates/sip/tests/x.rs", "#[test] fn sx8_vias() {}");
        let count = |row: &str| held(&tree(&[code, (PAGE, row)])).len();
        assert_eq!(count("| `sip::limits::VIAS` | 70 | 400 | `sx8_vias` |"), 0);
        assert_eq!(count("| `sip::limits::VIAS` | 70 | 400 | `sx8_gone` |"), 1);
        assert_eq!(count("| `sip::limits::VIAS` | 70 | 400 | none yet |"), 1);
        assert_eq!(count("| limit | value | then | test |"), 0);
    }
}
