//! What a new process knows of a call for its record: the record that the old one told, or what the journal says beside.

use super::{Began, Found, Line};
use proxy::dispatch::Direction;
use proxy::{CallKey, Role, Settings};
use telemetry::calls::{CallRecord, RestoredRecord, Word};

impl Found {
    /// The calls as the records take them back: the same that the core does.
    pub fn records(&self, settings: &Settings) -> Vec<RestoredRecord> {
        let setup = settings.timers.timer_c + settings.timers.b();
        let setup_ms = u64::try_from(setup.as_millis()).unwrap_or(u64::MAX);
        let is_known = |name: &str| settings.parties.iter().any(|party| &*party.name == name);
        let ours = self.standing.calls.iter().filter(|(_, line)| is_known(&line.began.from) && is_known(line.toward()));
        let records = ours.map(|(key, line)| RestoredRecord {
            key: *key,
            record: record_of(*key, line, settings),
            given_up_at_ms: line.began_ms.saturating_add(setup_ms),
        });
        records.collect()
    }
}

fn record_of(key: CallKey, line: &Line, settings: &Settings) -> CallRecord {
    if let Some(record) = &line.known {
        return CallRecord { restarted: true, ..(**record).clone() };
    }
    let (began, began_ms, answered_ms) = (&*line.began, line.began_ms, line.up.as_ref().map(|up| up.answered_ms));
    let Began { call_id, from, called, caller, environment, .. } = began;
    let (from, to) = (from.clone(), line.toward().clone());
    let is_trunk =
        |name: &&Word| settings.parties.iter().any(|party| *party.name == ***name && matches!(party.role, Role::Trunk));
    let trunk = [&from, &to].into_iter().find(is_trunk).cloned();
    let e164 =
        |user: &str| settings.numbering.canonical_user(user.as_bytes()).ok().map(|number| format!("+{number}").into());
    let direction = match began.direction() {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    };
    CallRecord {
        id: format!("{key}-{:x}", began_ms.saturating_mul(1_000)).into(),
        call_id: call_id.clone(),
        began_at_ms: began_ms,
        answered_at_ms: answered_ms,
        setup_ms: answered_ms.map(|answered_ms| answered_ms.saturating_sub(began_ms)),
        direction: direction.into(),
        trunk,
        environment: environment.clone(),
        organisation: Some(began.organisation.clone()).filter(|id| !id.is_empty()),
        called: e164(called),
        caller: e164(caller),
        called_received: called.clone(),
        caller_received: caller.clone(),
        outcome: if answered_ms.is_some() { "answered" } else { "in_progress" }.into(),
        status: answered_ms.map(|_| 200),
        restarted: true,
        from,
        to: Some(to),
        ..CallRecord::default()
    }
}
