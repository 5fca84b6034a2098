//! The commands that README.md and docs/ show, and the table that says where each is run: `fixtures/documents/commands.toml`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "it serves tests alone: a fault here is the test's failure")]

use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a command is run, and what it needs beside the program.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Programs that are run on the node `prod` of a lab.
    pub run: Vec<String>,
    /// Commands that are not run, by what they begin with.
    pub left: Vec<Left>,
    /// Blocks that are run on a machine of their own, in this order.
    pub machine: Vec<OnMachine>,
    /// What is done before the first command of a page, or before one command.
    pub before: Vec<Before>,
    /// Text that stands for something else in the lab.
    pub replace: Vec<Replace>,
    /// Commands that do not end with 0 in the lab.
    pub ends: Vec<Ends>,
}

/// Commands that nobody runs from the page.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// What they begin with.
    pub command: String,
    /// Who does what they do, or why nobody can.
    pub why: String,
}

/// A block that is run whole on a clean machine with systemd.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct OnMachine {
    /// The page's path.
    pub page: String,
    /// Text of the block that no other block of the page has.
    pub block: String,
    /// What an administrator has done by then.
    #[serde(default)]
    pub before: String,
    /// Text of the block that stands for something else.
    #[serde(default)]
    pub replace: Vec<Replace>,
    /// A call has gone to [`CALLED`] by then.
    #[serde(default)]
    pub after_a_call: bool,
}

/// The number that the documents' calls go to.
pub const CALLED: &str = "+918065978021";

/// A script of the lab's node.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// The page's path.
    pub page: String,
    /// Text of the command it comes before; the page's first one without.
    pub command: Option<String>,
    /// Shell.
    pub script: String,
}

/// Text for text.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// As the page has it.
    pub text: String,
    /// As it is run.
    pub by: String,
}

/// An exit code.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    /// What the command begins with.
    pub command: String,
    /// How it ends.
    pub code: i32,
    /// Why that is right.
    pub why: String,
}

/// One command of a page.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Shown {
    /// The page's path.
    pub page: String,
    /// Its line.
    pub line: usize,
    /// The line on which its block begins.
    pub block: usize,
    /// The command.
    pub command: String,
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The table, as it stands.
pub fn table() -> Table {
    toml::from_str(&fs::read_to_string(root().join("fixtures/documents/commands.toml")).unwrap()).unwrap()
}

/// Path and text of the README and of every page of the docs, in the order of their paths.
pub fn pages() -> Vec<(String, String)> {
    let (root, mut open, mut found) = (root(), vec![PathBuf::from("docs")], vec![PathBuf::from("README.md")]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap().map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|ending| ending == "md") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found.iter().map(|path| (path.display().to_string(), fs::read_to_string(root.join(path)).unwrap())).collect()
}

/// The commands of a page's fenced blocks: each line of those marked `sh`; in `console` and unmarked ones the lines that begin
/// with `$ `. A `\` at the end of a line continues it.
pub fn commands_of(page: &str, text: &str) -> Vec<Shown> {
    let (mut found, mut fence): (Vec<Shown>, Option<(String, usize)>) = (Vec::new(), None);
    let mut is_continued = false;
    for (index, line) in text.lines().enumerate() {
        let plain = line.trim();
        if let Some(mark) = plain.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some((mark.to_owned(), index + 1)) };
            is_continued = false;
            continue;
        }
        let Some((mark, block)) = &fence else { continue };
        let command = match mark.as_str() {
            "sh" => Some(plain).filter(|line| !line.is_empty() && !line.starts_with('#')),
            "" | "console" => plain.strip_prefix("$ "),
            _ => None,
        };
        if is_continued {
            let last = found.last_mut().unwrap();
            last.command = format!("{} {}", last.command.trim_end_matches('\\').trim_end(), plain);
        } else if let Some(command) = command {
            found.push(Shown { page: page.to_owned(), line: index + 1, block: *block, command: command.to_owned() });
        } else {
            // Else whoever forgets the mark or the `$` has a command that nobody runs.
            let is_hidden =
                mark.is_empty() && ["switchyard ", "cargo ", "sudo "].iter().any(|of| plain.starts_with(of));
            // The demonstration's own words, and the first line of `status`.
            let is_output = line.starts_with("  switchyard ") || plain.starts_with("switchyard 0.");
            assert!(!is_hidden || is_output, "{page}:{}: a command in a block that is not marked sh", index + 1);
            continue;
        }
        is_continued = found.last().unwrap().command.ends_with('\\');
    }
    found
}

/// The commands of a line: those of a pipe stay together.
pub fn parts(line: &str) -> Vec<String> {
    let plain = line.split(" #").next().unwrap_or(line).split("  #").next().unwrap_or(line);
    plain.split("&&").flat_map(|part| part.split("; ")).map(|part| part.trim().to_owned()).collect()
}

impl OnMachine {
    /// Its commands on the page of that text. Fails the test unless the page has exactly one such block.
    pub fn commands(&self, text: &str) -> Vec<Shown> {
        let all = commands_of(&self.page, text);
        let mut blocks: Vec<usize> =
            all.iter().filter(|shown| shown.command.contains(&self.block)).map(|shown| shown.block).collect();
        blocks.dedup();
        let [block] = blocks[..] else {
            panic!("{}: {} blocks have {:?}, expected one", self.page, blocks.len(), self.block)
        };
        all.into_iter().filter(|shown| shown.block == block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_the_blocks_that_hold_them() {
        let page = "Do:\n```sh\na --b \\\n   c\n# why\nd\n```\n```\n$ e f\noutput\n```\n```toml\n$ g\n```\nand `h`.";
        let found = commands_of("p", page);
        let told: Vec<_> = found.iter().map(|shown| (shown.line, shown.block, shown.command.as_str())).collect();
        assert_eq!(told, [(3, 2, "a --b c"), (6, 2, "d"), (9, 8, "e f")]);
    }

    #[test]
    fn a_block_is_found_by_what_it_alone_has() {
        let text = "```sh\na one\nb\n```\nor\n```sh\na two\n```\n";
        let step = |block: &str| OnMachine {
            page: "p".to_owned(),
            block: block.to_owned(),
            before: String::new(),
            replace: Vec::new(),
            after_a_call: false,
        };
        let commands: Vec<String> = step("one").commands(text).into_iter().map(|shown| shown.command).collect();
        assert_eq!(commands, ["a one", "b"]);
        for (wrong, blocks) in [("a ", "2 blocks"), ("c", "0 blocks")] {
            let refused = std::panic::catch_unwind(|| step(wrong).commands(text)).unwrap_err();
            assert!(refused.downcast_ref::<String>().unwrap().contains(blocks));
        }
    }
}
