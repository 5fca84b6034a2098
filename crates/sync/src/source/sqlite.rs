//! An SQLite file: attached for reading alone to a connection that is kept, with `PRAGMA data_version` on it, and the
//! identity of the file.
//!
//! `data_version` sees every commit of another connection. It cannot see that the file was deleted, replaced or
//! overwritten, so the file itself is looked at too; if that changed, it is attached again. Without a write-ahead log
//! every commit changes the file, so only another file is another database. What the connection has in its own memory
//! stays over all that.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteOwnedBuf};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::dialect::Dialect;
use super::engine::{Connected, fault};
use super::progress::{Patience, Stopped};
use super::record::Record;
use crate::fault::SyncFault;
use crate::settings::{Settings, masked_url};

/// How long a query waits for another connection's lock.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Rows that may be on their way from the thread that reads the file.
const ROWS_UNDER_WAY_MAX: usize = 1_024;

/// What the file is called in the connection that reads it.
pub(super) const ATTACHED: &str = "file";
/// Asks whether another connection has committed.
pub(super) const DATA_VERSION: &str = "PRAGMA file.data_version";

/// How many pages the file has, and how long each is.
pub(super) const PAGES: &str = "PRAGMA file.page_count";
pub(super) const PAGE_BYTES: &str = "PRAGMA file.page_size";

/// How SQLite begins to say that a file's text is not encoded as that of our own memory.
const OTHER_ENCODING: &str = "attached databases must use the same text encoding";

/// Statements beyond this length name rows, and so are run once: they are not kept prepared.
const KEPT_STATEMENT_BYTES_MAX: usize = 1_536;

/// An SQLite file.
pub(crate) struct Sqlite {
    options: SqliteConnectOptions,
    /// The statement that attaches the file for reading; `None` when it is opened to be written.
    attach: Option<String>,
    path: PathBuf,
    patience: Patience,
    open: Option<(SqliteConnection, FileIdentity)>,
    /// The device and the inode of the last file that was read.
    last: Option<(u64, u64)>,
}

/// What tells one state of a file from another, from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileIdentity {
    device: u64,
    inode: u64,
    len: u64,
    modified_s: i64,
    modified_ns: i64,
}

/// The way to the file of a URL, which must be one that others can write.
pub(crate) fn options(url: &str) -> Result<SqliteConnectOptions, SyncFault> {
    let fault = |detail: String| SyncFault::Url { found: masked_url(url), detail };
    let options = SqliteConnectOptions::from_str(url).map_err(|error| fault(error.to_string()))?;
    if options.get_filename().as_os_str().is_empty() || url.contains(":memory:") || url.contains("mode=memory") {
        return Err(fault("a file is needed, as others write it".to_owned()));
    }
    Ok(options
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROWS_UNDER_WAY_MAX)
        .disable_statement_logging())
}

/// The statement that attaches the file of a URL for reading alone, with what the URL says of how.
fn attach(url: &str, path: &Path) -> String {
    let mut uri = String::from(if path.is_absolute() { "file://" } else { "file:" });
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?mode=ro");
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters).split('&');
    for parameter in parameters.filter(|parameter| ["immutable=", "vfs="].iter().any(|key| parameter.starts_with(key)))
    {
        uri.push('&');
        uri.push_str(parameter);
    }
    format!("ATTACH {} AS {ATTACHED}", Dialect::Sqlite.literal(uri.as_bytes()))
}

impl Sqlite {
    pub(crate) fn new(settings: &Settings, patience: Patience) -> Result<Sqlite, SyncFault> {
        // Of the file that is attached a reader changes nothing; its own memory it has to write, whatever the URL says.
        let options = options(&settings.url)?.read_only(false);
        let path = options.get_filename().to_path_buf();
        let attach = Some(attach(&settings.url, &path));
        Ok(Sqlite { options, attach, path, patience, open: None, last: None })
    }

    /// The same file, to be written.
    pub(crate) fn writable(self) -> Sqlite {
        Sqlite { attach: None, open: None, ..self }
    }

    /// Connects if there is no connection, or the file has changed from outside.
    pub(crate) async fn connect(&mut self) -> Result<Connected, SyncFault> {
        let file = self.file()?;
        if self.open.as_ref().is_some_and(|(_, open)| *open == file) {
            return Ok(Connected::Still);
        }
        let place = (file.device, file.inode);
        let is_same = self.open.is_some() && self.last == Some(place);
        let connected = self.open_anew().await;
        let connection = match connected {
            Ok(connection) => connection,
            Err(stopped) => return Err(self.refusal(stopped).await),
        };
        self.open = Some((connection, file));
        self.last = Some(place);
        Ok(if is_same { Connected::Again } else { Connected::Anew })
    }

    /// A connection that knows nothing of what the file was. One that reads is the same as before.
    async fn open_anew(&mut self) -> Result<SqliteConnection, Stopped> {
        let open = self.open.take();
        let Some(attach) = &self.attach else { return self.patience.answer(self.options.connect()).await };
        let mut connection = match open {
            Some((mut connection, _)) => {
                let detach = sqlx::raw_sql(AssertSqlSafe(format!("DETACH {ATTACHED}"))).execute(&mut connection);
                self.patience.answer(detach).await?;
                connection
            }
            None => self.patience.answer(self.options.clone().filename(":memory:").connect()).await?,
        };
        self.patience.answer(sqlx::raw_sql(AssertSqlSafe(attach.clone())).execute(&mut connection)).await?;
        Ok(connection)
    }

    /// Why the file does not open.
    async fn refusal(&self, stopped: Stopped) -> SyncFault {
        let fault = fault(stopped, |detail| SyncFault::Connect { detail });
        match &fault {
            SyncFault::Connect { detail } if detail.starts_with(OTHER_ENCODING) => {
                let found = self.encoding().await.unwrap_or_else(|_| "another".to_owned());
                SyncFault::Encoding { path: self.path.clone(), found }
            }
            _ => fault,
        }
    }

    /// How the file says that its text is encoded.
    async fn encoding(&self) -> Result<String, Stopped> {
        let mut connection = self.patience.answer(self.options.clone().read_only(true).connect()).await?;
        self.patience.answer(sqlx::query_scalar("PRAGMA encoding").fetch_one(&mut connection)).await
    }

    /// The file's pages, one after the other, as of the transaction that is under way.
    pub(super) async fn copy(&mut self) -> Result<SqliteOwnedBuf, Stopped> {
        let (connection, _) = self.open.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        self.patience.answer(connection.serialize(Some(ATTACHED))).await
    }

    pub(crate) fn disconnect(&mut self) {
        self.open = None;
    }

    /// Hands every row to `take`, its columns as bytes that say the value as text.
    pub(crate) async fn rows(&mut self, statement: String, mut take: impl FnMut(&mut Record)) -> Result<(), Stopped> {
        let mut record = Record::default();
        let (connection, _) = self.open.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let is_kept = statement.len() <= KEPT_STATEMENT_BYTES_MAX;
        let mut found = sqlx::query(AssertSqlSafe(statement)).persistent(is_kept).fetch(connection);
        while let Some(row) = self.patience.next(&mut found).await? {
            for place in 0..row.len() {
                record.set(place, row.try_get_unchecked(place)?);
            }
            take(&mut record);
        }
        Ok(())
    }

    pub(crate) async fn execute(&mut self, statement: String) -> Result<u64, Stopped> {
        let (connection, _) = self.open.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let done = self.patience.answer(sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection)).await?;
        Ok(done.rows_affected())
    }

    fn file(&mut self) -> Result<FileIdentity, SyncFault> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(FileIdentity {
                device: metadata.dev(),
                inode: metadata.ino(),
                len: metadata.len(),
                modified_s: metadata.mtime(),
                modified_ns: metadata.mtime_nsec(),
            }),
            Err(_) => {
                self.open = None;
                Err(SyncFault::FileMissing { path: self.path.clone() })
            }
        }
    }
}
