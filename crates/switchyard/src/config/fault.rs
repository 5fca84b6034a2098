//! What is wrong with a configuration: where it stands, what was found, what was expected.

use std::fmt;

/// The way to one value of the file: `trunk[0].gateways[1]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Key(Vec<Part>);

/// One step of a [`Key`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// A key of a table.
    Name(String),
    /// A position in a list, from 0.
    Index(usize),
}

impl Key {
    /// The key `name` of the file's root table.
    pub fn of(name: &str) -> Key {
        Key::default().name(name)
    }

    /// The key `name` of the table that this key leads to.
    pub fn name(&self, name: &str) -> Key {
        self.with(Part::Name(name.to_owned()))
    }

    /// The element at `index` of the list that this key leads to.
    pub fn index(&self, index: usize) -> Key {
        self.with(Part::Index(index))
    }

    /// The steps, from the root.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The nearest key of a table at or above this one: `trunk[0].gateways` for `trunk[0].gateways[1]`.
    pub(crate) fn of_table(&self) -> Key {
        let named = self.0.iter().rposition(|part| matches!(part, Part::Name(_)));
        Key(self.0.get(..named.map_or(0, |at| at + 1)).unwrap_or_default().to_vec())
    }

    fn with(&self, part: Part) -> Key {
        let mut parts = self.0.clone();
        parts.push(part);
        Key(parts)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            match part {
                Part::Name(name) if at == 0 => f.write_str(name)?,
                Part::Name(name) => write!(f, ".{name}")?,
                Part::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Where a fault stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The file as a whole: it cannot be read, or the key is not written in it.
    File,
    /// A line of the file, from 1.
    Line(usize),
    /// A variable of the process's environment.
    Variable,
}

/// One thing that is wrong. No secret is ever part of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// Which key or variable it is about; empty where the text is no TOML.
    pub key: Key,
    /// What is there, as it is written.
    pub found: String,
    /// What would be right.
    pub expected: String,
    /// The reason of the rule, or what was probably meant.
    pub why: Option<String>,
}

/// Every fault of one file, in the order of its lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults {
    /// The file, as it was named.
    pub file: String,
    /// The faults; never empty.
    pub list: Vec<Fault>,
}

/// One line for each fault: `FILE:LINE: KEY: found .., expected .. (why)`.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.list.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            match fault.place {
                Place::File => write!(f, "{}: ", self.file)?,
                Place::Line(line) => write!(f, "{}:{line}: ", self.file)?,
                Place::Variable => f.write_str("environment variable ")?,
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.parts().is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_like_the_way_to_it() {
        let key = Key::of("trunk").index(0).name("gateways").index(12);
        assert_eq!(key.to_string(), "trunk[0].gateways[12]");
        assert_eq!(key.of_table().to_string(), "trunk[0].gateways");
        assert_eq!(Key::of("sip").of_table(), Key::of("sip"));
    }

    #[test]
    fn a_fault_has_place_key_found_expected_and_reason() {
        let fault = |place, why: Option<&str>| Fault {
            place,
            key: Key::of("a"),
            found: "1".into(),
            expected: "2".into(),
            why: why.map(str::to_owned),
        };
        let list =
            vec![fault(Place::File, None), fault(Place::Line(7), Some("so it is")), fault(Place::Variable, None)];
        let faults = Faults { file: "x.toml".into(), list };
        let expected = "x.toml: a: found 1, expected 2\n\
                        x.toml:7: a: found 1, expected 2 (so it is)\n\
                        environment variable a: found 1, expected 2";
        assert_eq!(faults.to_string(), expected);
    }
}
