//! A directory becomes bytes.

use std::collections::HashMap;

use sip::Number;

use super::checksum::crc64;
use super::{HEAD_BYTES, MAGIC, VERSION};
use crate::did_table::DidRecord;
use crate::directory::Directory;
use crate::organisation::OrganisationRecord;
use crate::overlays::{Overlays, Subject};
use crate::row_key::RowKey;

/// The bytes of a directory.
pub fn encode(directory: &Directory) -> Vec<u8> {
    let mut out = Writer { bytes: vec![0; HEAD_BYTES] };
    out.bytes.reserve(directory.did_count() * 32);
    out.integer(directory.generation.0);
    out.strings(directory.providers.names().iter().map(|name| &**name));
    let places = out.organisations(directory);
    out.dids(directory, &places);
    out.users(directory, &places);
    out.trunks(directory, &places);
    out.faults(directory);
    out.overlays(directory.overlays());
    finished(out.bytes)
}

fn finished(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.get(HEAD_BYTES..).unwrap_or_default();
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&(body.len() as u64).to_le_bytes());
    head.extend_from_slice(&crc64(body).to_le_bytes());
    bytes.splice(..HEAD_BYTES, head);
    bytes
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Seven bits in each byte, the lowest first; the eighth says that more follow.
    fn integer(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.byte(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.byte(low);
    }

    fn count(&mut self, count: usize) {
        self.integer(count as u64);
    }

    fn optional(&mut self, value: Option<u64>) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            self.integer(value);
        }
    }

    fn string(&mut self, text: &str) {
        self.count(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn strings<'s>(&mut self, texts: impl ExactSizeIterator<Item = &'s str>) {
        self.count(texts.len());
        for text in texts {
            self.string(text);
        }
    }

    fn key(&mut self, key: RowKey) {
        self.bytes.extend_from_slice(&key.bits().to_le_bytes());
    }

    /// Writes the organisations, and returns the number that each place has in what follows: 1 and up.
    fn organisations(&mut self, directory: &Directory) -> HashMap<u32, u64> {
        let all: Vec<(u32, &OrganisationRecord)> = directory
            .organisations
            .all()
            .filter_map(|place| Some((place, directory.organisations.at(place)?)))
            .collect();
        self.count(all.len());
        let mut places = HashMap::with_capacity(all.len());
        for ((place, record), number) in all.into_iter().zip(1..) {
            places.insert(place, number);
            self.string(&record.id());
            self.byte(u8::from(record.facts.is_some()));
            if let Some(facts) = &record.facts {
                self.string(&facts.id);
                self.string(&facts.name);
                self.string(&facts.context_prefix);
                self.byte(facts.status as u8);
                self.byte(u8::from(facts.kept_last_good));
                self.byte(u8::from(facts.limits.is_some()));
                if let Some(limits) = facts.limits {
                    self.optional(limits.concurrent_calls.map(u64::from));
                }
            }
        }
        places
    }

    fn dids(&mut self, directory: &Directory, places: &HashMap<u32, u64>) {
        self.count(directory.odd_ids.len());
        for (key, id) in directory.odd_ids.iter() {
            self.key(*key);
            self.string(id);
        }
        self.count(directory.did_count() + directory.losers.len());
        let mut last = 0;
        for (number, record) in directory.dids.rows() {
            self.integer(number.digits() - last);
            last = number.digits();
            self.did(&record, places);
        }
        for loser in directory.losers.iter() {
            // A distance of 0: the number itself follows, as losers do not come after the last DID.
            self.integer(0);
            self.integer(loser.number.digits());
            self.did(&loser.record, places);
        }
    }

    fn did(&mut self, record: &DidRecord, places: &HashMap<u32, u64>) {
        self.key(record.key);
        self.byte(record.fields.marks.0);
        self.integer(place(places, record.fields.place()));
        self.integer(u64::from(record.fields.provider));
        self.integer(u64::from(record.fields.call_limit));
        self.integer(u64::from(record.updated_at_s));
    }

    fn users(&mut self, directory: &Directory, places: &HashMap<u32, u64>) {
        self.count(directory.users.row_count());
        for user in directory.users.rows() {
            match &user.odd_id {
                Some(id) => self.string(id),
                None => self.string(&user.key.as_uuid()),
            }
            self.integer(place(places, Some(user.organisation)));
            self.string(&user.username);
            self.string(&user.extension);
            self.string(&user.endpoint);
            self.integer(user.outbound_did.map_or(0, Number::digits));
            self.byte(u8::from(user.is_active) | u8::from(user.kept_last_good) << 1);
            self.integer(u64::from(user.updated_at_s));
        }
    }

    fn trunks(&mut self, directory: &Directory, places: &HashMap<u32, u64>) {
        self.count(directory.trunks.len());
        for trunk in directory.trunks.iter() {
            self.string(&trunk.id);
            self.integer(place(places, trunk.organisation));
            self.string(&trunk.name);
            self.string(&trunk.host);
            self.integer(u64::from(trunk.port));
            self.byte(trunk.transport as u8);
            self.byte(trunk.status as u8);
        }
    }

    fn faults(&mut self, directory: &Directory) {
        self.count(directory.row_faults.len());
        for fault in directory.row_faults.iter() {
            self.byte(fault.table as u8);
            self.key(fault.key);
            self.string(fault.column);
            self.byte(fault.reason as u8);
            self.optional(fault.effect.map(|effect| effect as u64));
            self.byte(u8::from(fault.text.is_some()));
            if let Some(text) = &fault.text {
                self.string(&text.id);
                self.string(&text.found);
                self.string(&text.expected);
            }
        }
    }

    fn overlays(&mut self, overlays: &Overlays) {
        self.byte(u8::from(overlays.panic.is_some()));
        if let Some(panic) = overlays.panic {
            self.optional(panic.ends_at_ms);
        }
        self.count(overlays.testers.len());
        for tester in &overlays.testers {
            self.integer(tester.caller.digits());
            match &tester.subject {
                Subject::Did(number) => {
                    self.byte(0);
                    self.integer(number.digits());
                }
                Subject::Organisation(id) => {
                    self.byte(1);
                    self.string(id);
                }
            }
            self.byte(tester.environment as u8);
            self.integer(tester.ends_at_ms);
        }
        self.count(overlays.leases.len());
        for lease in &overlays.leases {
            self.integer(lease.number.digits());
            self.byte(lease.environment as u8);
            self.integer(lease.ends_at_ms);
        }
    }
}

/// The number of an organisation in the list of them; 0 for none.
fn place(places: &HashMap<u32, u64>, place: Option<u32>) -> u64 {
    place.and_then(|place| places.get(&place)).copied().unwrap_or(0)
}
