//! Where rows come from: one engine, one file; each has queries and change detection, nothing else.
//!
//! A look finds what changed since the last one, in one of two ways: everything is read and compared, or the change log
//! says which rows to read. Either way all that a look finds is as of one commit.

mod change_log;
mod dialect;
mod engine;
mod images;
mod mariadb;
mod mirror;
mod overlay_rows;
mod pages;
mod postgres;
mod progress;
mod record;
mod sqlite;
mod tables;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use directory::{Builder, Changes, Overlays, OwnMove, Policy};
use sip::Numbering;
use tokio::sync::Notify;

pub(crate) use dialect::Dialect;
pub(crate) use engine::{Connected, Engine};
pub(crate) use mariadb::options as mariadb_options;
pub(crate) use postgres::{CHANNEL, options as postgres_options};
pub(crate) use record::Record;
pub(crate) use sqlite::options as sqlite_options;

use crate::clock::now_ms;
use crate::fault::SyncFault;
use crate::limits::OWN_MOVES_MAX;
use crate::mapping::{Mapping, TABLES};
use crate::own_tables::{self, OwnTable};
use crate::settings::{Detection, Settings};
pub(crate) use change_log::LOG_ENTRIES_READ_MAX;
use change_log::{Entry, Position, Wanted};
use images::{Images, Sweep, append};
use mirror::{Compare, Mirror, Unfit};
use overlay_rows::OverlayRows;
use tables::read_table;

/// Rows asked for by their ids in one statement.
const IDS_ASKED_MAX: usize = 500;

/// Readings of everything are this many times their own length apart, so that they take 5 percent of the time at most.
const RECONCILE_REST: u32 = 20;

/// A database, and what is known of its state.
pub(crate) struct Source {
    engine: Engine,
    mapping: Mapping,
    detection: Detection,
    reconcile_interval: Duration,
    bell: Arc<Notify>,
    images: Images,
    /// What stands in for the images where SQLite itself can compare.
    mirror: Option<Mirror>,
    /// Why there was no mirror when one was last tried.
    unfit: Option<Unfit>,
    /// How far the change log was read; `None` where there is none, or before the first reading of a connection.
    position: Option<Position>,
    /// Which of our own tables the database has.
    own: HashSet<OwnTable>,
    /// The engine's mark before the last reading of everything.
    mark: Option<Vec<u8>>,
    /// When everything was last read.
    read_at: Option<Instant>,
    /// How long that took.
    reading_took: Duration,
}

/// How sure a look has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// An ordinary look, as cheap as can be.
    Glance,
    /// Whatever was committed before is found; a change log is trusted.
    Sure,
    /// Everything is read anew.
    Whole,
}

/// What a look found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing has changed.
    Nothing,
    /// These rows have changed; overlays where they were read.
    Changes(Changes, Option<Overlays>),
    /// Only a reading of everything tells: [`Source::read`].
    Everything,
}

impl Source {
    /// The source that a URL names. Nothing is opened yet. `bell` rings when a look is worth while before its time.
    pub(crate) fn new(settings: &Settings, bell: Arc<Notify>) -> Result<Source, SyncFault> {
        let engine = Engine::new(settings)?;
        let mapping = match engine.dialect() {
            // The file is attached under another name.
            Dialect::Sqlite => settings.mapping.clone().without_schema("main"),
            _ => settings.mapping.clone(),
        };
        Ok(Source {
            engine,
            mapping,
            detection: settings.detection,
            reconcile_interval: settings.reconcile_interval,
            bell,
            images: Images::default(),
            mirror: None,
            unfit: None,
            position: None,
            own: HashSet::new(),
            mark: None,
            read_at: None,
            reading_took: Duration::ZERO,
        })
    }

    /// Looks for changes since the last reading that came into effect.
    pub(crate) async fn look(&mut self, depth: Depth, policy: &Policy) -> Result<Found, SyncFault> {
        match self.engine.connect().await? {
            Connected::Still => {}
            Connected::Again => self.mark = None,
            Connected::Anew => self.forget(),
        }
        if depth == Depth::Whole {
            return Ok(Found::Everything);
        }
        let is_due = self.is_reconcile_due();
        if !is_due && let Some(position) = self.position.take() {
            return self.look_into_log(position, policy).await;
        }
        if depth == Depth::Sure && own_tables::OVERLAYS.iter().any(|own| !self.own.contains(own)) {
            // Who has just written to tables that were just made must not wait for the next full reading.
            self.survey().await?;
        }
        let mark = self.engine.mark().await?;
        if depth == Depth::Glance && !is_due && mark.is_some() && mark == self.mark {
            return Ok(Found::Nothing);
        }
        match self.mirror.take() {
            _ if self.logs() => Ok(Found::Everything),
            Some(mirror) => {
                // The pages are trusted between two full comparisons, as a change log is.
                let compare = if is_due { Compare::All } else { Compare::Suspected };
                self.compare_in_engine(mirror, compare, mark, policy).await
            }
            None if self.images.are_whole() => self.compare(mark, policy).await,
            None => Ok(Found::Everything),
        }
    }

    /// Reads everything as it stood at one moment; returns the overlays, where there are any tables of them.
    pub(crate) async fn read(&mut self, builder: &mut Builder<'_>, policy: &Policy) -> Result<Overlays, SyncFault> {
        let begun = Instant::now();
        let mark = self.engine.mark().await?;
        self.engine.execute(self.engine.dialect().begin()).await?;
        self.survey().await?;
        let logs = self.logs();
        self.mirror = None;
        let can_compare = self.engine.dialect() == Dialect::Sqlite && !logs;
        // What ids do not tell apart now they did not when this was tried last: images cost less to see it mended.
        let is_hopeful = !matches!(self.unfit, Some(Unfit::IdsNotUnique { .. }));
        let mut mirror = None;
        if can_compare && is_hopeful {
            mirror = Mirror::fill(&mut self.engine, &self.mapping, &mut self.unfit).await?;
        }
        let has_images = !logs && mirror.is_none();
        if !has_images {
            self.images.clear();
        }
        let mut sweep = has_images.then(|| self.images.sweep());
        for table in TABLES {
            read_table(&mut self.engine, self.mapping.of(table), None, |record| {
                record.build(table, builder);
                if let Some(sweep) = &mut sweep {
                    sweep.first(table, record);
                }
            })
            .await?;
        }
        if can_compare && !is_hopeful && sweep.as_ref().is_some_and(Sweep::tells_apart) {
            sweep = None;
            self.images.clear();
            mirror = Mirror::fill(&mut self.engine, &self.mapping, &mut self.unfit).await?;
        }
        let overlays = read_overlays(&mut self.engine, &self.own, policy).await?;
        let position = if logs { Some(read_position(&mut self.engine).await?) } else { None };
        self.engine.execute("COMMIT").await?;
        if let Some(sweep) = sweep {
            sweep.finish_first();
        }
        self.mirror = mirror;
        let kept = self.position.take();
        self.position = position.map(|position| position.with_notes_of(kept));
        self.mark = mark;
        self.read_at = Some(Instant::now());
        self.reading_took = begun.elapsed();
        self.listen().await?;
        Ok(overlays)
    }

    /// Deletes what every reader of the change log has had time to read. `Err` when the account may not.
    pub(crate) async fn tidy(&mut self) -> Result<(), SyncFault> {
        let deletable = self.position.as_mut().and_then(|position| position.deletable(Instant::now()));
        let Some(last) = deletable else { return Ok(()) };
        let delete = format!("DELETE FROM {} WHERE id <= {last}", own_tables::CHANGES);
        match self.engine.dialect() {
            Dialect::MariaDb => {
                // Without gap locks, so that no trigger waits for this.
                self.engine.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                self.engine.execute(&delete).await?;
            }
            Dialect::Postgres => {
                self.engine.execute(&delete).await?;
            }
            // Its triggers do it; we do not write to the file.
            Dialect::Sqlite => {}
        }
        Ok(())
    }

    /// Which DIDs the nodes that share our tables moved since `since_ms`, by the audit; none where there is none.
    pub(crate) async fn moves_since(&mut self, since_ms: u64) -> Result<Vec<(u64, OwnMove)>, SyncFault> {
        if !self.own.contains(&OwnTable::Audit) {
            return Ok(Vec::new());
        }
        let (table, mut moves) = (OwnTable::Audit.name(), Vec::new());
        let statement = format!(
            "SELECT made_at_ms, subject, value_after FROM {table} \
             WHERE action = '{}' AND made_at_ms >= {since_ms} ORDER BY made_at_ms DESC LIMIT {OWN_MOVES_MAX}",
            own_tables::MOVED
        );
        self.engine
            .rows(table, statement, |record| {
                let number = Numbering::default().canonical(record.cell(1).unwrap_or_default());
                if let (Ok(at_ms), Ok(number), Ok(environment)) =
                    (record.text(0).parse(), number, record.text(2).parse())
                {
                    moves.push((at_ms, OwnMove { number, environment }));
                }
            })
            .await?;
        Ok(moves)
    }

    /// How changes are found.
    pub(crate) fn way(&self) -> &'static str {
        match (self.position.is_some(), self.engine.dialect()) {
            (true, Dialect::Postgres) => "notify",
            (true, _) => "change_log",
            (false, _) => "compare",
        }
    }

    /// Whether looks are into a change log.
    pub(crate) fn has_log(&self) -> bool {
        self.position.is_some()
    }

    /// Whether a look costs next to nothing and is the only way to hear of a change: then it is worth while often.
    pub(crate) fn is_cheap_to_poll(&self) -> bool {
        match self.engine.dialect() {
            Dialect::MariaDb => self.has_log(),
            Dialect::Postgres => false,
            Dialect::Sqlite => true,
        }
    }

    /// Lets go of the connection: the next look begins with a new one.
    pub(crate) fn disconnect(&mut self) {
        self.engine.disconnect();
        self.mirror = None;
        self.forget();
    }

    /// How long to leave the database alone after a look that took so long. Where every look reads everything that is
    /// as long again; a file in which SQLite finds the changes takes nothing from a server, and half of it will do.
    pub(crate) fn rest_after(&self, took: Duration) -> Duration {
        match (&self.position, &self.mirror) {
            (Some(_), _) => Duration::ZERO,
            (None, Some(_)) => took / 2,
            (None, None) => took,
        }
    }

    /// Forgets what holds for one connection only.
    fn forget(&mut self) {
        self.mark = None;
        self.position = None;
    }

    /// Whether it is time to read everything, whatever the engine says of changes. A reading that takes long is done
    /// less often, as changes wait for its end.
    fn is_reconcile_due(&self) -> bool {
        let interval = self.reconcile_interval.max(self.reading_took * RECONCILE_REST);
        self.read_at.is_none_or(|at| at.elapsed() >= interval)
    }

    /// Whether changes come from the change log.
    fn logs(&self) -> bool {
        self.detection != Detection::Compare && self.own.contains(&OwnTable::Changes)
    }

    /// Reads everything and compares it with the last reading. The images are given back when all is well, so that a
    /// failure anywhere ends in a full reading.
    async fn compare(&mut self, mark: Option<Vec<u8>>, policy: &Policy) -> Result<Found, SyncFault> {
        let mut images = std::mem::take(&mut self.images);
        self.engine.execute(self.engine.dialect().begin()).await?;
        let mut sweep = images.sweep();
        for table in TABLES {
            read_table(&mut self.engine, self.mapping.of(table), None, |record| sweep.row(table, record)).await?;
        }
        let overlays = read_overlays(&mut self.engine, &self.own, policy).await?;
        self.engine.execute("COMMIT").await?;
        let changes = sweep.finish();
        if changes.is_some() {
            self.compared(mark).await?;
        }
        self.images = images;
        Ok(changes.map_or(Found::Everything, |changes| Found::Changes(changes, Some(overlays))))
    }

    /// The same in the engine, with a mirror of the last reading.
    async fn compare_in_engine(
        &mut self,
        mut mirror: Mirror,
        compare: Compare,
        mark: Option<Vec<u8>>,
        policy: &Policy,
    ) -> Result<Found, SyncFault> {
        self.engine.execute(self.engine.dialect().begin()).await?;
        let changes = mirror.changes(&mut self.engine, &self.mapping, compare).await?;
        let overlays = read_overlays(&mut self.engine, &self.own, policy).await?;
        self.engine.execute("COMMIT").await?;
        let Some(changes) = changes else { return Ok(Found::Everything) };
        self.compared(mark).await?;
        self.mirror = Some(mirror);
        Ok(Found::Changes(changes, Some(overlays)))
    }

    /// Takes note that everything was compared as it stood at this mark or later.
    async fn compared(&mut self, mark: Option<Vec<u8>>) -> Result<(), SyncFault> {
        self.mark = mark;
        if self.is_reconcile_due() {
            // Someone may have made or dropped our own tables.
            self.survey().await?;
            self.read_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Reads what the change log has that was not read yet, and the rows that it names. The position is given back when
    /// all is well, so that a failure anywhere ends in a full reading.
    async fn look_into_log(&mut self, mut position: Position, policy: &Policy) -> Result<Found, SyncFault> {
        let statement = |position: &Position| {
            let (table, limit) = (own_tables::CHANGES, LOG_ENTRIES_READ_MAX + 1);
            let condition = position.condition();
            let id = if self.engine.dialect() == Dialect::Postgres { "id::text" } else { "id" };
            format!("SELECT {id}, table_name, row_id FROM {table} WHERE {condition} LIMIT {limit}")
        };
        let statement = statement(&position);
        if self.entries(&statement).await?.is_empty() {
            position.pass(&[], Instant::now());
            if self.engine.dialect() == Dialect::Sqlite && !self.is_log_the_same(&position).await? {
                return Ok(Found::Everything);
            }
            self.position = Some(position);
            self.listen().await?;
            return Ok(Found::Nothing);
        }
        self.engine.execute(self.engine.dialect().begin()).await?;
        let entries = self.entries(&statement).await?;
        let wanted = Wanted::of(&entries);
        if entries.len() > LOG_ENTRIES_READ_MAX || wanted.all_rows {
            self.engine.execute("ROLLBACK").await?;
            self.position = Some(position);
            return Ok(Found::Everything);
        }
        let mut changes = Changes::default();
        for table in TABLES {
            let Some(ids) = wanted.rows.get(&table) else { continue };
            let mut upserted = Changes::default();
            let mut gone: HashSet<&[u8]> = ids.iter().map(Vec::as_slice).collect();
            for asked in ids.chunks(IDS_ASKED_MAX) {
                read_table(&mut self.engine, self.mapping.of(table), Some(asked), |record| {
                    if let Some(id) = record.id(table) {
                        gone.remove(id);
                    }
                    record.change(table, &mut upserted);
                })
                .await?;
            }
            for id in gone {
                Record::gone(table, id, &mut changes);
            }
            append(&mut changes, upserted);
        }
        let names_overlays =
            entries.iter().any(|entry| own_tables::OVERLAYS.iter().any(|own| own.name() == entry.table));
        let overlays =
            if names_overlays { Some(read_overlays(&mut self.engine, &self.own, policy).await?) } else { None };
        self.engine.execute("COMMIT").await?;
        let ids: Vec<u64> = entries.iter().map(|entry| entry.id).collect();
        position.pass(&ids, Instant::now());
        self.position = Some(position);
        self.listen().await?;
        Ok(Found::Changes(changes, overlays))
    }

    /// Whether the log still reaches as far as it was read. A file may be overwritten by another, with a log of its own
    /// or none.
    async fn is_log_the_same(&mut self, position: &Position) -> Result<bool, SyncFault> {
        let mut last = 0;
        let statement = format!("SELECT max(id) FROM {}", own_tables::CHANGES);
        self.engine.rows(own_tables::CHANGES, statement, |record| last = record.text(0).parse().unwrap_or(0)).await?;
        Ok(last >= position.last())
    }

    async fn entries(&mut self, statement: &str) -> Result<Vec<Entry>, SyncFault> {
        let mut entries = Vec::new();
        self.engine
            .rows(own_tables::CHANGES, statement.to_owned(), |record| {
                let text = |place: usize| String::from_utf8_lossy(record.cell(place).unwrap_or_default()).into_owned();
                let row_id = record.cell(2).map(<[u8]>::to_vec);
                entries.push(Entry { id: text(0).parse().unwrap_or_default(), table: text(1), row_id });
            })
            .await?;
        Ok(entries)
    }

    /// Which of our own tables there are.
    async fn survey(&mut self) -> Result<(), SyncFault> {
        self.own.clear();
        for own in OwnTable::ALL {
            let mut is_there = false;
            let statement = self.engine.dialect().columns_of_table(None, own.name());
            self.engine.rows(own.name(), statement, |_| is_there = true).await?;
            if is_there {
                self.own.insert(own);
            }
        }
        if self.detection == Detection::ChangeLog && !self.own.contains(&OwnTable::Changes) {
            return Err(SyncFault::TableMissing { table: own_tables::CHANGES.to_owned() });
        }
        Ok(())
    }

    async fn listen(&mut self) -> Result<(), SyncFault> {
        if self.position.is_some() {
            self.engine.listen(&self.bell).await?;
        }
        Ok(())
    }
}

async fn read_overlays(engine: &mut Engine, own: &HashSet<OwnTable>, policy: &Policy) -> Result<Overlays, SyncFault> {
    let mut rows = OverlayRows::new(policy);
    for table in own_tables::OVERLAYS.into_iter().filter(|table| own.contains(table)) {
        let statement = OverlayRows::statement(table, engine.dialect(), now_ms());
        engine.rows(table.name(), statement, |record| rows.row(table, record)).await?;
    }
    rows.finish()
}

/// How far the change log goes in the present snapshot.
async fn read_position(engine: &mut Engine) -> Result<Position, SyncFault> {
    let mut visible = Vec::new();
    let id = if engine.dialect() == Dialect::Postgres { "id::text" } else { "id" };
    let statement = format!(
        "SELECT {id} FROM {} ORDER BY {}.id DESC LIMIT {LOG_ENTRIES_READ_MAX}",
        own_tables::CHANGES,
        own_tables::CHANGES
    );
    engine
        .rows(own_tables::CHANGES, statement, |record| {
            let text = String::from_utf8_lossy(record.cell(0).unwrap_or_default()).into_owned();
            visible.extend(text.parse::<u64>());
        })
        .await?;
    Ok(Position::after(visible, Instant::now()))
}

/// What the engine says. It repeats neither the URL nor a password.
pub(crate) fn detail(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
