//! The four tables as a database has them: which columns there are, and their rows.

use directory::rows::Column;

use super::engine::Engine;
use super::record::Record;
use crate::fault::SyncFault;
use crate::mapping::{TableNames, columns};

/// Hands every row of a table, or those with `ids`, to `take`, its columns in the order of the reference schema's.
pub(super) async fn read_table(
    engine: &mut Engine,
    names: &TableNames,
    ids: Option<&[Vec<u8>]>,
    take: impl FnMut(&mut Record),
) -> Result<(), SyncFault> {
    let present = present_columns(engine, names).await?;
    let what = names.table.name();
    // Names come from the operator's configuration, each in quotes that nothing in it can end; ids are literals.
    let statement = engine.dialect().select(names, &selected(names, &present)?, ids);
    engine.rows(what, statement, take).await
}

/// The names of a table's columns; none when it is not there or may not be read.
pub(super) async fn present_columns(engine: &mut Engine, names: &TableNames) -> Result<Vec<String>, SyncFault> {
    let mut present = Vec::new();
    let statement = engine.dialect().columns_of(names);
    engine
        .rows(names.table.name(), statement, |record| {
            present.push(String::from_utf8_lossy(record.cell(0).unwrap_or_default()).into_owned());
        })
        .await?;
    Ok(present)
}

/// The columns to select from a table that has `present`, in the order of [`columns`]: a required one that is missing
/// is a fault, an optional one is read as NULL.
pub(super) fn selected<'n>(names: &'n TableNames, present: &[String]) -> Result<Vec<Option<&'n str>>, SyncFault> {
    if present.is_empty() {
        return Err(SyncFault::TableMissing { table: names.shown() });
    }
    let select = |(column, name): (&Column, &'n String)| match present
        .iter()
        .any(|present| present.eq_ignore_ascii_case(name))
    {
        true => Ok(Some(name.as_str())),
        false if column.required => Err(SyncFault::ColumnMissing { table: names.shown(), column: name.clone() }),
        false => Ok(None),
    };
    columns(names.table).iter().zip(&names.columns).map(select).collect()
}
