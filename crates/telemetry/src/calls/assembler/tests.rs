use super::*;
use crate::calls::JournalBounds;
use crate::limits::BATCH_BYTES;
use directory::{Directory, Environment};
use proxy::settings::{DispatchSettings, LimitSettings, TimerSettings, UnknownDid};
use proxy::{Flow, ListenerId, Question, decide};
use sip::Method;

fn settings() -> Settings {
    Settings {
        environment: Environment::Prod,
        listeners: vec![Listener { transport: Transport::Udp, address: "10.10.10.1:5060".parse().unwrap() }],
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties: Vec::new(),
        numbering: sip::Numbering::default(),
        caller_id: proxy::settings::CallerIdSettings::default(),
        dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
        adopt_until: None,
        availability: proxy::settings::AvailabilitySettings::default(),
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    }
}

fn assembler(bounds: JournalBounds) -> Assembler {
    let journal = Arc::new(Mutex::new(Journal::new(bounds)));
    Assembler::new(Arc::new(ArcSwap::from_pointee(settings())), 0, journal, Vec::new(), Arc::default())
}

/// A batch with one INVITE that was dispatched, behind so many bytes of others.
fn opening(key: u128, filler: usize) -> Batch {
    let question = Question { from: PartyId(0), method: Method::Invite, user: b"918065978001", caller: None };
    let decision = decide(&settings(), &Directory::empty(), &question);
    let mut batch = Batch::default();
    let flow = Flow::to(ListenerId(0), "10.10.10.2:5060".parse().unwrap());
    batch.keep(&vec![b'x'; filler]);
    let text = format!(
        "INVITE sip:918065978001@10.10.10.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.10.10.2;branch=z9hG4bK1\r\n\
         From: <sip:447700900001@10.10.10.2>;tag=1\r\nTo: <sip:918065978001@10.10.10.1>\r\nCall-ID: call-{key}\r\n\
         CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    let frame = batch.frame(&flow, text.as_bytes());
    batch.entries.push((Time(0), Entry::Arrived(frame)));
    let (call_id, called) = (batch.keep(format!("call-{key}").as_bytes()), batch.keep(b"918065978001"));
    let opened = Entry::Opened { key: CallKey(key), call_id, called, from: PartyId(0), decision };
    batch.entries.push((Time(0), opened));
    batch
}

#[test]
fn a_call_above_the_open_records_is_counted() {
    let mut assembler = assembler(JournalBounds { calls: OPEN_RECORDS * 2, bytes: 1 << 30 });
    {
        let mut journal = assembler.journal.lock().unwrap();
        for key in 1..OPEN_RECORDS {
            journal.open_call(Some(CallKey(u128::try_from(key).unwrap())), CallRecord::default());
        }
    }
    let fits = u128::try_from(OPEN_RECORDS).unwrap();
    assembler.take(&opening(fits, 0));
    assert_eq!(assembler.lost.load(Ordering::Relaxed), 0);
    assembler.take(&opening(fits + 1, 0));
    assert_eq!(assembler.lost.load(Ordering::Relaxed), 1);
    assert_eq!(assembler.journal.lock().unwrap().open_count(), OPEN_RECORDS);
}

#[test]
fn messages_beyond_a_batch_are_left_out_of_the_journal_alone() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    assembler.take(&opening(1, BATCH_BYTES));
    assembler.take(&opening(2, 0));
    let journal = assembler.journal.lock().unwrap();
    let kept = |number| journal.call(super::super::CallNumber(number)).unwrap();
    assert_eq!((kept(1).left_out, kept(1).messages().count()), (1, 0));
    assert_eq!((kept(2).left_out, kept(2).messages().count()), (0, 1));
    assert!(kept(1).record.bytes_in > 200 && kept(1).record.messages == 1);
    assert_eq!(kept(2).record.caller_received, "447700900001");
}

/// A call that this process did not see begin is closed by its BYE all the same.
#[test]
fn a_call_that_spans_a_restart_is_closed_by_who_sees_its_end() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    let mut batch = Batch::default();
    let call_id = batch.keep(b"before");
    let (after_us, talked_us) = (70_000_000, 60_000_000);
    let ended = Entry::Ended { key: CallKey(9), call_id, by: EndedBy::Callee, after_us, talked_us };
    batch.entries.push((Time(100_000_000), ended));
    assembler.take(&batch);
    assembler.hand_on(Time(200_000_000), false);
    let journal = assembler.journal.lock().unwrap();
    let (_, _, call) = journal.ended_after(0).next().unwrap();
    let record = &call.record;
    assert_eq!((&*record.call_id, record.restarted, record.ended_by.as_deref()), ("before", true, Some("callee")));
    assert_eq!((record.began_at_ms, record.answered_at_ms), (30_000, Some(40_000)));
    assert_eq!((record.ended_at_ms, record.talked_ms), (Some(100_000), Some(60_000)));
}

#[test]
fn a_record_names_so_many_stray_addresses() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    let mut batch = opening(1, 0);
    let call_id = batch.keep(b"call-1");
    for last in 0..u8::try_from(STRAY_MEDIA).unwrap() + 5 {
        for key in [CallKey(1), CallKey::default()] {
            let address = [192, 168, 1, last].into();
            batch.entries.push((Time(0), Entry::StrayMedia { key, call_id, from: PartyId(0), address }));
        }
    }
    assembler.take(&batch);
    let journal = assembler.journal.lock().unwrap();
    let known = &journal.call(super::super::CallNumber(1)).unwrap().record.stray_media;
    assert_eq!(
        known.iter().map(|stray| &*stray.address).collect::<Vec<_>>(),
        (0..STRAY_MEDIA).map(|last| format!("192.168.1.{last}")).collect::<Vec<_>>()
    );
}
