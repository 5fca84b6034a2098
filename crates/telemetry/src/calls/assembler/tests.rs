use super::*;
use crate::calls::{JournalBounds, RestoredRecord};
use crate::limits::{BATCH_BYTES, CALL_BYTES};
use directory::{Directory, Environment};
use proxy::settings::{DispatchSettings, LimitSettings, TimerSettings, UnknownDid};
use proxy::{Flow, Listener, ListenerId, Question, Transport, decide};
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
    let opened = Entry::Opened { key: CallKey(key), call_id, called, from: PartyId(0), decision: 0 };
    batch.decisions.push(decision);
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
fn a_record_is_named_by_its_call_and_its_time() {
    let mut assembler = assembler(JournalBounds { calls: 1, bytes: 1 << 20 });
    for (key, at_us) in [(0, 0), (u128::MAX, u64::MAX), (0x0123_4567_89ab_cdef_0011_2233_4455_6677, 0x6_5000_0000_00ff)]
    {
        assert_eq!(assembler.id_of(CallKey(key), at_us), format!("{}-{at_us:x}", CallKey(key)));
    }
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

/// What a process before this one knew: a call that began at the zero of the clock.
fn restored(key: u128, answered_at_ms: Option<u64>) -> RestoredRecord {
    let record = CallRecord {
        id: format!("id-{key}").into(),
        call_id: format!("before-{key}").into(),
        answered_at_ms,
        outcome: if answered_at_ms.is_some() { "answered" } else { "in_progress" }.into(),
        status: answered_at_ms.map(|_| 200),
        called_received: "918065978001".into(),
        restarted: true,
        ..CallRecord::default()
    };
    RestoredRecord { key: CallKey(key), record, given_up_at_ms: 213_000 }
}

/// The records that were whole, oldest first.
fn over(assembler: &Assembler) -> Vec<CallRecord> {
    assembler.journal.lock().unwrap().ended_after(0).map(|(_, _, call)| CallRecord::clone(call.record)).collect()
}

#[test]
fn what_the_process_before_knew_is_in_the_record_that_the_bye_closes() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    assembler.restore(vec![restored(9, Some(40_000))]);
    let mut batch = Batch::default();
    let call_id = batch.keep(b"before-9");
    let (after_us, talked_us) = (100_000_000, 60_000_000);
    let ended = Entry::Ended { key: CallKey(9), call_id, by: EndedBy::Callee, after_us, talked_us };
    batch.entries.push((Time(100_000_000), ended));
    assembler.take(&batch);
    assembler.hand_on(Time(200_000_000), false);
    let [record] = <[CallRecord; 1]>::try_from(over(&assembler)).unwrap();
    let known = restored(9, Some(40_000)).record;
    let (ended_at_ms, talked_ms) = (Some(100_000), Some(60_000));
    assert_eq!(record, CallRecord { ended_at_ms, talked_ms, ended_by: Some("callee".into()), ..known });
}

#[test]
fn a_call_in_setup_of_before_is_answered_by_who_sees_it_or_given_up() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    assembler.restore(vec![restored(1, None), restored(2, None), restored(3, None)]);
    let mut batch = Batch::default();
    let call_id = batch.keep(b"before");
    batch.entries.push((Time(100_000_000), Entry::Final { key: CallKey(1), call_id, status: 200 }));
    batch.entries.push((Time(100_000_000), Entry::Final { key: CallKey(2), call_id, status: 486 }));
    assembler.take(&batch);
    assembler.hand_on(Time(212_000_000), false);
    assert_eq!(over(&assembler).iter().map(|record| &*record.id).collect::<Vec<_>>(), ["id-2"]);
    assembler.hand_on(Time(213_000_000), false);
    assembler.hand_on(Time(214_000_000), false);
    let records = over(&assembler);
    let given_up = records.last().unwrap();
    assert_eq!((records.len(), &*given_up.id, &*given_up.outcome), (2, "id-3", "failed"));
    assert_eq!((given_up.ended_at_ms, given_up.ended_by.as_deref()), (Some(213_000), Some("aged")));
    let journal = assembler.journal.lock().unwrap();
    let number = journal.by_key(CallKey(1)).unwrap().number;
    let up = &journal.call(super::super::CallNumber(number)).unwrap().record;
    assert_eq!((&*up.outcome, up.answered_at_ms, journal.open_count()), ("answered", Some(100_000), 1));
}

/// The BYE that opens a record is kept with it, on its way in and on its way out.
#[test]
fn a_bye_of_a_call_that_nobody_told_of_is_kept_with_its_record() {
    let bye = "BYE sip:918065978001@10.10.10.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.10.10.2;branch=z9hG4bK9\r\n\
               From: <sip:447700900001@10.10.10.2>;tag=1\r\nTo: <sip:918065978001@10.10.10.1>;tag=2\r\n\
               Call-ID: elsewhere\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n";
    for is_known in [false, true] {
        let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
        let mut batch = Batch::default();
        let frame = batch.frame(&Flow::to(ListenerId(0), "10.10.10.2:5060".parse().unwrap()), bye.as_bytes());
        batch.entries.push((Time(0), Entry::Arrived(frame)));
        let call_id = batch.keep(b"elsewhere");
        let (key, by, users) = (CallKey(7), EndedBy::Caller, [batch.keep(b"a"), batch.keep(b"b")]);
        let (direction, parties) = (proxy::dispatch::Direction::Inbound, [PartyId(0), PartyId(1)]);
        let entry = match is_known {
            true => Entry::Ended { key: CallKey(8), call_id, by, after_us: 0, talked_us: 0 },
            false => Entry::EndedUnseen { key, call_id, direction, parties, users, by },
        };
        batch.entries.push((Time(0), entry));
        let frame = batch.frame(&Flow::to(ListenerId(0), "10.10.10.3:5060".parse().unwrap()), bye.as_bytes());
        batch.entries.push((Time(0), Entry::Left(frame, Some(0))));
        assembler.take(&batch);
        let journal = assembler.journal.lock().unwrap();
        let call = journal.kept(journal.by_call_id(b"elsewhere").unwrap()).unwrap();
        assert_eq!((call.messages().count(), call.record.messages), (2, 2), "{is_known}");
    }
}

/// What the BYE alone says; and of a call that another BYE has ended, nothing more.
#[test]
fn a_bye_of_a_call_that_nobody_told_of_makes_a_record_and_a_second_bye_none() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    for at_ms in [50_000, 51_000] {
        let mut batch = Batch::default();
        let [call_id, caller, called] =
            [&b"elsewhere"[..], b"+447700900123", b"+918065978001"].map(|text| batch.keep(text));
        let (direction, parties) = (proxy::dispatch::Direction::Inbound, [PartyId(0), PartyId(1)]);
        let (key, users, by) = (CallKey(7), [caller, called], EndedBy::Callee);
        let unseen = Entry::EndedUnseen { key, call_id, direction, parties, users, by };
        batch.entries.push((Time(at_ms * 1_000), unseen));
        assembler.take(&batch);
        assembler.hand_on(Time(at_ms * 1_000 + 900_000), false);
    }
    let [record] = <[CallRecord; 1]>::try_from(over(&assembler)).unwrap();
    assert_eq!((&*record.call_id, &*record.direction, record.restarted), ("elsewhere", "inbound", true));
    assert_eq!((&*record.caller_received, &*record.called_received), ("+447700900123", "+918065978001"));
    assert_eq!((record.began_at_ms, record.ended_at_ms, record.answered_at_ms), (50_000, Some(50_000), None));
    assert_eq!((&*record.outcome, record.ended_by.as_deref()), ("answered", Some("callee")));
}

#[test]
fn who_keeps_calls_for_the_next_process_is_told_of_each_answer_once() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    let (told, tells) = std::sync::mpsc::channel();
    assembler.tell(Some(Box::new(move |key, record: &Arc<CallRecord>| {
        told.send((key, record.call_id.to_string(), record.status)).unwrap();
    })));
    let mut batch = opening(1, 0);
    let call_id = batch.keep(b"call-1");
    for status in [200, 200] {
        batch.entries.push((Time(1_000), Entry::Final { key: CallKey(1), call_id, status }));
    }
    assembler.take(&batch);
    let mut busy = opening(2, 0);
    let call_id = busy.keep(b"call-2");
    busy.entries.push((Time(1_000), Entry::Final { key: CallKey(2), call_id, status: 486 }));
    assembler.take(&busy);
    let mut short = opening(3, 0);
    let call_id = short.keep(b"call-3");
    short.entries.push((Time(1_000), Entry::Final { key: CallKey(3), call_id, status: 200 }));
    let (by, after_us, talked_us) = (EndedBy::Caller, 1_000, 0);
    short.entries.push((Time(2_000), Entry::Ended { key: CallKey(3), call_id, by, after_us, talked_us }));
    assembler.take(&short);
    assembler.hand_on(Time(STANDS_AFTER_MS * 1_000), false);
    assert_eq!(tells.try_iter().count(), 0);
    assembler.hand_on(Time((STANDS_AFTER_MS + 1) * 1_000), false);
    assert_eq!(tells.try_iter().collect::<Vec<_>>(), [(CallKey(1), "call-1".to_owned(), Some(200))]);
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
    let record = call.record;
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

#[test]
fn numbers_are_written_with_their_plus() {
    for digits in [1_000, 918_065_978_001, 100_000_000_000_000, 999_999_999_999_999] {
        assert_eq!(plus(Number::from_digits(digits).unwrap()), format!("+{digits}"));
    }
}

/// What leaves is kept with the call of what arrived, whether the tap says whose it is or the message does; and facts that
/// name a call say whose the message before them is.
#[test]
fn messages_are_kept_with_their_calls() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    let flow = Flow::to(ListenerId(0), "10.10.10.1:5070".parse().unwrap());
    let text = |key: u128| format!("SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 10.10.10.1\r\nCall-ID: call-{key}\r\n\r\n");
    let mut batch = opening(1, 0);
    let arrived = batch.frame(&flow, text(1).as_bytes());
    let first = batch.entries.len();
    batch.entries.push((Time(0), Entry::Arrived(arrived)));
    let call_id = batch.keep(b"call-1");
    batch.entries.push((Time(0), Entry::Ringing { call_id }));
    let strange = batch.frame(&flow, text(7).as_bytes());
    let second = batch.entries.len();
    batch.entries.push((Time(0), Entry::Arrived(strange)));
    for (key, of) in [(1, Some(0)), (1, Some(first)), (7, Some(second)), (1, None), (7, None)] {
        let frame = match of {
            Some(at) => batch.frame_like(at, &flow, text(key).as_bytes(), 0),
            None => batch.frame(&flow, text(key).as_bytes()),
        };
        batch.entries.push((Time(0), Entry::Left(frame, of)));
    }
    assembler.take(&batch);
    let journal = assembler.journal.lock().unwrap();
    let call = journal.call(super::super::CallNumber(1)).unwrap();
    assert_eq!((call.messages().count(), call.record.messages, journal.size().0), (5, 5, 1));
    assert!(call.record.ringing_at_ms.is_some());
    let texts: Vec<_> = call.messages().skip(1).map(|(_, bytes)| bytes.into_owned()).collect();
    assert_eq!(texts, [(); 4].map(|()| text(1).into_bytes()));
}

/// Who is called and shown is read from a text of which only a part was handed over; and a message that is sent on is kept whole
/// where the one that it is like found no room.
#[test]
fn what_is_sent_on_is_whole_whatever_became_of_what_arrived() {
    let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
    let flow = Flow::to(ListenerId(0), "10.10.10.1:5070".parse().unwrap());
    let mut batch = opening(1, 0);
    let invite = String::from_utf8(batch.arrived(0).unwrap().span.of(&batch.bytes).to_vec()).unwrap();
    let invite = invite.replacen("Via", "Record-Route: <sip:10.10.10.1>\r\nVia", 1);
    let frame = batch.frame_like(0, &flow, invite.as_bytes(), 0);
    assert!(frame.shared.0 > 0 && frame.shared.1 > 0 && frame.span.len() < 50);
    batch.entries.push((Time(0), Entry::Left(frame, Some(0))));
    let short = "SIP/2.0 183 Session Progress\r\nCall-ID: call-1\r\n\r\n";
    let arrived = batch.frame(&flow, format!("{short}{}", "x".repeat(CALL_BYTES)).as_bytes());
    let at = batch.entries.len();
    batch.entries.push((Time(0), Entry::Arrived(arrived)));
    let frame = batch.frame_like(at, &flow, short.as_bytes(), 0);
    assert!(frame.span.is_empty());
    batch.entries.push((Time(0), Entry::Left(frame, Some(at))));
    assembler.take(&batch);
    let journal = assembler.journal.lock().unwrap();
    let call = journal.call(super::super::CallNumber(1)).unwrap();
    let texts: Vec<_> = call.messages().skip(1).map(|(_, bytes)| bytes.into_owned()).collect();
    assert_eq!(texts, [invite.as_bytes(), short.as_bytes()]);
    assert_eq!((call.left_out, call.record.messages), (1, 4));
    assert_eq!(call.record.bytes_out, u64::try_from(invite.len() + short.len()).unwrap());
    let ends = [&call.record.called_sent, &call.record.caller_sent].map(|end| end.as_deref());
    assert_eq!(ends, [Some("918065978001"), Some("447700900001")]);
}

/// What a later turn of the same batch says is not about the call of the turn before it.
#[test]
fn turns_of_one_batch_do_not_speak_of_each_others_calls() {
    for is_over in [false, true] {
        let mut assembler = assembler(JournalBounds { calls: 10, bytes: 1 << 20 });
        let mut batch = opening(1, 0);
        if is_over {
            batch.entries.push((Time(0), Entry::TurnOver));
        }
        batch.entries.push((Time(0), Entry::Refused(PartyId(0), Refusal::NoTable)));
        assembler.take(&batch);
        assembler.hand_on(Time(10_000_000), false);
        assert_eq!(over(&assembler).len(), usize::from(!is_over));
    }
}
