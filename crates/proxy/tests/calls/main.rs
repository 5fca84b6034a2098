//! Every text of `fixtures/calls` is a test of its own name. See `fixtures/calls/README.md` for the form.
//!
//! The texts of `tests/calls/faulty` must fail, each with the words that its first line names: a runner that lets
//! everything pass would hold nothing.

mod draft;
mod expect;
mod invariants;
mod ladder;
mod pattern;
mod profile;
mod quota;
mod rows;
mod run;
mod scene;
mod text;
mod wire;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};

/// At least this many whole calls are texts: a wrong folder must not pass as an empty one.
const TEXTS_MIN: usize = 40;

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut trials = trials(&root.join("../../fixtures/calls"), "", run::run_file);
    let enough = trials.len();
    trials.push(Trial::test("there_are_enough_texts", move || {
        if enough >= TEXTS_MIN { Ok(()) } else { Err(format!("found {enough}, expected {TEXTS_MIN} or more").into()) }
    }));
    trials.push(Trial::test("every_row_named_is_a_row", || rows_are_rows().map_err(Failed::from)));
    trials.extend(self::trials(&root.join("tests/calls/faulty"), "faulty/", must_fail));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trials(folder: &Path, prefix: &str, run: fn(&Path) -> Result<(), String>) -> Vec<Trial> {
    let of_file = |file: PathBuf| {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Trial::test(format!("{prefix}{name}"), move || run(&file).map_err(Failed::from))
    };
    files(folder).into_iter().map(of_file).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "call")).collect();
    files.sort();
    files
}

/// The first line of a faulty text is `# fails: WORDS`.
fn must_fail(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|fault| fault.to_string())?;
    let first = text.lines().next().unwrap_or_default();
    let wanted = first.strip_prefix("# fails: ").ok_or("found no `# fails: WORDS` in its first line")?;
    match run::run_file(file) {
        Ok(()) => Err(format!("it passed, expected it to fail with {wanted:?}")),
        Err(fault) if fault.contains(wanted) => Ok(()),
        Err(fault) => Err(format!("it failed otherwise, expected {wanted:?}:\n{fault}")),
    }
}

/// Every id behind `rows:` stands in docs/reference/conformance.md or faults.md.
fn rows_are_rows() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = |name: &str| {
        let page = root.join("../../docs/reference").join(name);
        std::fs::read_to_string(&page).map_err(|fault| format!("{}: {fault}", page.display()))
    };
    let page = page("conformance.md")? + &page("faults.md")?;
    let known: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).collect();
    let mut faults = String::new();
    for file in files(&root.join("../../fixtures/calls")) {
        for row in run::rows_held(&file).unwrap_or_default() {
            if !known.contains(&row.as_str()) {
                faults.push_str(&format!(
                    "{}: {row} is no row of docs/reference/conformance.md or faults.md\n",
                    file.display()
                ));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}
