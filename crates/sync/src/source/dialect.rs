//! What the engines' SQL says differently.

use crate::mapping::{TableNames, quoted};

/// An engine's way of saying things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// MariaDB and MySQL.
    MariaDb,
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// The quote around an identifier.
    pub(crate) const fn quote(self) -> char {
        match self {
            Dialect::MariaDb => '`',
            Dialect::Postgres | Dialect::Sqlite => '"',
        }
    }

    /// Begins a transaction that reads everything as of one commit.
    pub(crate) const fn begin(self) -> &'static str {
        match self {
            // The snapshot is taken here, not with the first row.
            Dialect::MariaDb => "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Dialect::Sqlite => "BEGIN",
        }
    }

    /// A column as bytes that say its value as text.
    fn column(self, name: &str) -> String {
        let name = quoted(name, self.quote());
        match self {
            // The text protocol gives text, whatever the type.
            Dialect::MariaDb => name,
            Dialect::Postgres => format!("{name}::text"),
            // A cast to BLOB gives every value's text, and leaves broken UTF-8 as it is.
            Dialect::Sqlite => format!("CAST({name} AS BLOB)"),
        }
    }

    /// A text as a literal, so that nothing in it can end it.
    pub(crate) fn literal(self, bytes: &[u8]) -> String {
        let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match self {
            Dialect::MariaDb => format!("_utf8mb4 X'{}'", hex()),
            Dialect::Postgres => format!("'{}'", String::from_utf8_lossy(bytes).replace('\0', "").replace('\'', "''")),
            Dialect::Sqlite => format!("CAST(X'{}' AS TEXT)", hex()),
        }
    }

    /// A statement whose rows are the names of a table's columns; none when it is not there or may not be read.
    pub(crate) fn columns_of(self, names: &TableNames) -> String {
        self.columns_of_table(names.schema.as_deref(), &names.name)
    }

    /// The same by name; `schema` is `None` for the connection's own.
    pub(crate) fn columns_of_table(self, schema: Option<&str>, name: &str) -> String {
        let text = |name: &str| self.literal(name.as_bytes());
        let quote = |name: &str| quoted(name, self.quote());
        let place = schema.map_or_else(|| quote(name), |schema| format!("{}.{}", quote(schema), quote(name)));
        let schema = schema.map(text);
        match self {
            Dialect::MariaDb => format!(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = {} AND table_name = {}",
                schema.unwrap_or_else(|| "DATABASE()".to_owned()),
                text(name)
            ),
            Dialect::Postgres => format!(
                "SELECT attname::text FROM pg_catalog.pg_attribute \
                 WHERE attrelid = to_regclass({}) AND attnum > 0 AND NOT attisdropped",
                text(&place)
            ),
            Dialect::Sqlite => {
                let schema = schema.map_or_else(String::new, |schema| format!(", {schema}"));
                format!("SELECT name FROM pragma_table_info({}{schema})", text(name))
            }
        }
    }

    /// A statement that selects these columns of a table, each at its place; one that is not there reads as NULL. With
    /// `ids`, the rows that have them.
    pub(crate) fn select(self, names: &TableNames, selected: &[Option<&str>], ids: Option<&[Vec<u8>]>) -> String {
        let list: Vec<String> =
            selected.iter().map(|name| name.map_or_else(|| "NULL".to_owned(), |name| self.column(name))).collect();
        let mut statement = format!("SELECT {} FROM {}", list.join(", "), names.quoted(self.quote()));
        if let Some(ids) = ids {
            let literals: Vec<String> = ids.iter().map(|id| self.literal(id)).collect();
            let key = quoted(names.column("id"), self.quote());
            statement.push_str(&format!(" WHERE {key} IN ({})", literals.join(", ")));
        }
        statement
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;
    use directory::Table;

    #[test]
    fn a_literal_cannot_be_left() {
        let hostile = b"1'); DROP TABLE users; --\\\0";
        assert_eq!(Dialect::Postgres.literal(hostile), "'1''); DROP TABLE users; --\\'");
        assert_eq!(Dialect::MariaDb.literal(b"a'\xff"), "_utf8mb4 X'6127ff'");
        assert_eq!(Dialect::Sqlite.literal(b"a'"), "CAST(X'6127' AS TEXT)");
    }

    #[test]
    fn a_missing_column_reads_as_null_at_its_place() {
        let mut mapping = Mapping::default();
        mapping.rename_column("sip_trunks", "id", "key").unwrap();
        let names = mapping.of(Table::Trunks);
        let statement = Dialect::Postgres.select(names, &[Some("key"), None], Some(&[b"7".to_vec()]));
        assert_eq!(statement, r#"SELECT "key"::text, NULL FROM "sip_trunks" WHERE "key" IN ('7')"#);
    }
}
