//! A look at the database, without anything of the writer's: it may take its time while the writer goes on.

use directory::{Builder, Directory, Generation, Overlays, Policy};

use crate::fault::SyncFault;
use crate::source::{Depth, Found, Source};

/// What a look has read: the rows where they may have changed, overlays where they were read.
pub(crate) struct Read {
    pub(crate) rows: Option<Directory>,
    pub(crate) overlays: Option<Overlays>,
}

/// Reads what a look finds; `None` where nothing has changed.
pub(crate) async fn read(
    source: &mut Source,
    depth: Depth,
    policy: &Policy,
    truth: &Directory,
    generation: Generation,
) -> Result<Option<Read>, SyncFault> {
    match source.look(depth, policy).await? {
        Found::Nothing => Ok(None),
        Found::Changes(changes, overlays) => {
            let rows = (!changes.is_empty()).then(|| truth.apply(generation, &changes));
            Ok(Some(Read { rows, overlays }))
        }
        Found::Everything => {
            let mut builder = Builder::new(policy, Some(truth));
            let overlays = source.read(&mut builder, policy).await?;
            if let Err(fault) = source.tidy().await {
                tracing::warn!(%fault, "old entries of the change log could not be deleted");
                source.disconnect();
            }
            Ok(Some(Read { rows: Some(builder.finish(generation)), overlays: Some(overlays) }))
        }
    }
}
