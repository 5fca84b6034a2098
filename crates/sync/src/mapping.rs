//! What the tables and columns are called where they are not called as in the reference schema.

use directory::Table;
use directory::rows::{Column, DidRow, OrganisationRow, TrunkRow, UserRow};
use thiserror::Error;

use crate::limits::NAME_BYTES_MAX;

/// The four tables, in the order in which they are read: organisations first, as the others refer to them.
pub(crate) const TABLES: [Table; 4] = [Table::Organisations, Table::Dids, Table::Users, Table::Trunks];

/// The columns that are read of a table, by their names in the reference schema.
pub(crate) const fn columns(table: Table) -> &'static [Column] {
    match table {
        Table::Dids => DidRow::COLUMNS,
        Table::Users => UserRow::COLUMNS,
        Table::Organisations => OrganisationRow::COLUMNS,
        Table::Trunks => TrunkRow::COLUMNS,
    }
}

/// The names of tables and columns in one database. The default is the reference schema's.
///
/// ```
/// let mut mapping = sync::Mapping::default();
/// mapping.rename_table("did_numbers", "pbx.numbers")?;
/// mapping.rename_column("did_numbers", "routing_environment", "env")?;
/// # Ok::<(), sync::MappingFault>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// By [`Table`] as a number.
    tables: [TableNames; Table::ALL.len()],
}

/// One table's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableNames {
    /// The table in the reference schema.
    pub(crate) table: Table,
    /// The schema in which it stands, where it is not the connection's own.
    pub(crate) schema: Option<String>,
    /// Its name there.
    pub(crate) name: String,
    /// Its columns, in the order of [`columns`].
    pub(crate) columns: Vec<String>,
}

/// Why a name cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MappingFault {
    /// The reference schema has no such table.
    #[error("found table {0:?}, expected did_numbers, users, organizations or sip_trunks")]
    UnknownTable(String),
    /// The reference schema's table has no such column, or it is not read.
    #[error("table {table}: found column {column:?}, expected one of {expected}")]
    UnknownColumn {
        /// The table.
        table: Table,
        /// What was asked for.
        column: String,
        /// The columns that are read.
        expected: String,
    },
    /// No name that a table or column can have.
    #[error(
        "found name {0:?}, expected 1 to {NAME_BYTES_MAX} bytes without control characters; schema.table for a table elsewhere"
    )]
    BadName(String),
}

impl Default for Mapping {
    fn default() -> Self {
        let names = |&table: &Table| TableNames {
            table,
            schema: None,
            name: table.name().to_owned(),
            columns: columns(table).iter().map(|column| column.name.to_owned()).collect(),
        };
        Mapping { tables: [Table::Dids, Table::Users, Table::Organisations, Table::Trunks].each_ref().map(names) }
    }
}

impl Mapping {
    /// Says what a table is called; `schema.table` when it stands in another schema than the URL's.
    pub fn rename_table(&mut self, table: &str, name: &str) -> Result<(), MappingFault> {
        let (schema, plain) = match name.split_once('.') {
            Some((schema, plain)) => (Some(checked(schema, name)?), checked(plain, name)?),
            None => (None, checked(name, name)?),
        };
        let names = self.table_mut(table)?;
        (names.schema, names.name) = (schema, plain);
        Ok(())
    }

    /// Says what a column is called; `table` and `column` by their names in the reference schema.
    pub fn rename_column(&mut self, table: &str, column: &str, name: &str) -> Result<(), MappingFault> {
        let name = checked(name, name)?;
        let names = self.table_mut(table)?;
        let known = columns(names.table);
        let place = known.iter().position(|known| known.name == column);
        let Some(slot) = place.and_then(|place| names.columns.get_mut(place)) else {
            let expected = known.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
            return Err(MappingFault::UnknownColumn { table: names.table, column: column.to_owned(), expected });
        };
        *slot = name;
        Ok(())
    }

    /// The same, where tables of this schema are found without its name.
    pub(crate) fn without_schema(mut self, schema: &str) -> Mapping {
        let in_schema =
            |names: &&mut TableNames| names.schema.as_deref().is_some_and(|s| s.eq_ignore_ascii_case(schema));
        self.tables.iter_mut().filter(in_schema).for_each(|names| names.schema = None);
        self
    }

    /// The names of one table.
    pub(crate) fn of(&self, table: Table) -> &TableNames {
        let [dids, users, organisations, trunks] = &self.tables;
        match table {
            Table::Dids => dids,
            Table::Users => users,
            Table::Organisations => organisations,
            Table::Trunks => trunks,
        }
    }

    fn table_mut(&mut self, table: &str) -> Result<&mut TableNames, MappingFault> {
        let found = self.tables.iter_mut().find(|names| names.table.name() == table);
        found.ok_or_else(|| MappingFault::UnknownTable(table.to_owned()))
    }
}

impl TableNames {
    /// The table as people name it.
    pub(crate) fn shown(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The table as a statement names it, each part in quotes.
    pub(crate) fn quoted(&self, quote: char) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema, quote), quoted(&self.name, quote)),
            None => quoted(&self.name, quote),
        }
    }

    /// The name of a column, by its name in the reference schema.
    pub(crate) fn column(&self, reference: &str) -> &str {
        let place = columns(self.table).iter().position(|column| column.name == reference);
        place.and_then(|place| self.columns.get(place)).map_or("", String::as_str)
    }
}

/// An identifier in quotes, so that nothing in it can end it.
pub(crate) fn quoted(name: &str, quote: char) -> String {
    let doubled: String = name
        .chars()
        .flat_map(|letter| [letter, letter].into_iter().take(if letter == quote { 2 } else { 1 }))
        .collect();
    format!("{quote}{doubled}{quote}")
}

fn checked(part: &str, whole: &str) -> Result<String, MappingFault> {
    if part.is_empty() || part.len() > NAME_BYTES_MAX || part.chars().any(char::is_control) {
        return Err(MappingFault::BadName(whole.to_owned()));
    }
    Ok(part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_reference_schemas_until_they_are_mapped() {
        let mut mapping = Mapping::default();
        for table in TABLES {
            assert_eq!(mapping.of(table).table, table);
            assert_eq!(mapping.of(table).shown(), table.name());
        }
        mapping.rename_table("did_numbers", "pbx.numbers").unwrap();
        mapping.rename_column("did_numbers", "routing_environment", "env").unwrap();
        let dids = mapping.of(Table::Dids);
        assert_eq!((dids.shown().as_str(), dids.quoted('`').as_str()), ("pbx.numbers", "`pbx`.`numbers`"));
        let environment = columns(Table::Dids).iter().position(|column| column.name == "routing_environment").unwrap();
        assert_eq!(dids.columns[environment], "env");
    }

    #[test]
    fn a_name_that_cannot_be_is_refused() {
        let mut mapping = Mapping::default();
        assert_eq!(mapping.rename_table("dids", "x"), Err(MappingFault::UnknownTable("dids".to_owned())));
        for name in ["", ".", "a.", ".a", "a\0b", "a\nb", &"x".repeat(65)] {
            assert_eq!(mapping.rename_table("users", name), Err(MappingFault::BadName(name.to_owned())), "{name:?}");
        }
        let fault = mapping.rename_column("users", "password", "x").unwrap_err();
        assert!(
            fault.to_string().starts_with("table users: found column \"password\", expected one of id, org_id"),
            "{fault}"
        );
        assert_eq!(mapping, Mapping::default());
    }

    #[test]
    fn a_quote_in_a_name_does_not_end_it() {
        assert_eq!(quoted("a`; DROP TABLE users; --", '`'), "`a``; DROP TABLE users; --`");
        assert_eq!(quoted("a\"b", '"'), "\"a\"\"b\"");
    }
}
