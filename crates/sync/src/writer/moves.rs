//! Whose a move is: what other nodes wrote through the tables that we share is not others'.

use directory::{Directory, HoldReason, Verdict};

use super::Writer;
use crate::clock::now_ms;
use crate::source::Source;

impl Writer {
    /// Where the guard would hold these rows back for moves of others: asks the audit which of them are another node's,
    /// made through the tables that we share.
    pub(super) async fn learn_moves(&mut self, source: &mut Source, rows: &Directory) {
        let (published, now_ms) = (self.publisher.load(), now_ms());
        let Some(guard) = &self.guard else { return };
        let Verdict::Hold(hold) = guard.judge(now_ms, &published, rows, &self.own_moves(now_ms)) else { return };
        if !hold.reasons.iter().any(|reason| matches!(reason, HoldReason::DidsMoved { .. })) {
            return;
        }
        let since_ms = now_ms.saturating_sub(guard.policy().window_ms);
        match source.moves_since(since_ms).await {
            Ok(moves) => self.node_moves = moves,
            Err(fault) => {
                tracing::warn!(%fault, "the audit could not be read: moves of other nodes count as others'");
                source.disconnect();
            }
        }
    }
}
