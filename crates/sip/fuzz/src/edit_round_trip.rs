//! Edits: a splice is what a plain model of it says, and a message that was edited as a proxy does is the message with
//! these edits and no other.
//!
//! Input: the count of edits, three bytes for each (gap, bytes left out, bytes put in), then the source.

use sip::{Index, Item, Message, Name, Parsed, Span, Splice};

use crate::datagram::sound;

/// Reads the edits, then the source.
pub fn run(data: &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return };
    let Some((edits, source)) = rest.split_at_checked(usize::from(count % 8) * 3) else { return };
    splice_is_its_model(edits, source);
    let mut index = Index::new();
    match sip::parse(source, &mut index) {
        Parsed::Request(request) => forwards_a_request(request.message()),
        Parsed::Response(response) => forwards_a_response(response.message()),
        Parsed::Answerable(_) | Parsed::Hopeless(_) => {}
    }
}

fn splice_is_its_model(edits: &[u8], source: &[u8]) {
    const TEXT: [u8; 255] = [b'+'; 255];
    let mut out = b"kept".to_vec();
    let mut splice = Splice::new(source, &mut out);
    let mut model = source.to_vec();
    let mut at = 0;
    let mut grown = 0_isize;
    let mut fits = true;
    for edit in edits.chunks_exact(3) {
        let (start, end) = (at + usize::from(edit[0]), at + usize::from(edit[0]) + usize::from(edit[1]));
        let text = &TEXT[..usize::from(edit[2])];
        splice.replace(Span::new(start, end), text);
        if end > source.len() {
            fits = false;
            continue;
        }
        let moved = |offset: usize| offset.checked_add_signed(grown).expect("edits do not overlap");
        model.splice(moved(start)..moved(end), text.iter().copied());
        grown += text.len() as isize - (end - start) as isize;
        at = end;
    }
    assert_eq!(splice.finish().is_ok(), fits);
    assert_eq!(out, if fits { [b"kept", &model[..]].concat() } else { b"kept".to_vec() });
}

/// A header as it stands: name, value, lines.
type Whole = (Vec<u8>, Vec<u8>, Vec<u8>);

fn headers_except(message: &Message<'_>, lines: &[Span]) -> Vec<Whole> {
    let bytes = message.bytes();
    let kept = message.headers().iter().filter(|header| !lines.contains(&header.line));
    kept.map(|header| {
        (header.name_span.of(bytes).to_vec(), header.value.of(bytes).to_vec(), header.line.of(bytes).to_vec())
    })
    .collect()
}

fn items(message: &Message<'_>, name: Name) -> Vec<Vec<u8>> {
    message.list(name).map(|item| item.span.of(message.bytes()).to_vec()).collect()
}

/// A Via on top, one hop less, the first Route gone (RFC 3261 section 16.6).
fn forwards_a_request(message: &Message<'_>) {
    let max_forwards = message.first(Name::MaxForwards);
    let route = message.list(Name::Route).next();
    let mut edits = Vec::new();
    let mut touched = Vec::new();
    if let Some(header) = max_forwards {
        edits.push((header.value, &b"69"[..]));
        touched.push(header.line);
    }
    if let Some(item) = &route {
        edits.push((message.removal(item), b""));
        touched.push(item.header.line);
    }
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = Vec::new();
    let mut splice = Splice::new(message.bytes(), &mut out);
    splice.insert(message.headers_start(), b"Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKnew\r\n");
    for (span, text) in edits {
        splice.replace(span, text);
    }
    splice.finish().expect("edits of different headers are in order");

    let mut index = Index::new();
    let parsed = sip::parse(&out, &mut index);
    let Some(edited) = grown(&parsed) else { return };
    let mut vias = items(message, Name::Via);
    vias.insert(0, b"SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKnew".to_vec());
    assert_eq!(items(edited, Name::Via), vias);
    let routes = items(message, Name::Route);
    assert_eq!(items(edited, Name::Route), routes.get(1..).unwrap_or_default());
    if max_forwards.is_some() {
        assert_eq!(edited.first(Name::MaxForwards).map(|header| edited.value(header)), Some(&b"69"[..]));
    }
    let mut edited_lines = vec![edited.headers()[0].line];
    edited_lines.extend(edited.first(Name::MaxForwards).map(|header| header.line));
    if route.as_ref().is_some_and(|item| !is_alone(item)) {
        edited_lines.extend(first_line(edited, Name::Route));
    }
    assert_eq!(headers_except(edited, &edited_lines), headers_except(message, &touched));
    assert_eq!(edited.body().of(edited.bytes()), message.body().of(message.bytes()));
}

/// Without its top Via (RFC 3261 section 16.7 item 3).
fn forwards_a_response(message: &Message<'_>) {
    let top = message.list(Name::Via).next().expect("a response has a Via");
    let mut out = Vec::new();
    let mut splice = Splice::new(message.bytes(), &mut out);
    splice.delete(message.removal(&top));
    splice.finish().expect("one edit is in order");

    let mut index = Index::new();
    let parsed = sip::parse(&out, &mut index);
    let second = message.second_via();
    let Ok(Some(second)) = second else {
        assert!(sound(&parsed).is_none(), "without a good Via below nothing can be sent on");
        return;
    };
    if is_hidden_behind(&top, message) {
        return;
    }
    let Some(edited) = grown(&parsed) else { panic!("a response that became shorter can be read: {parsed:?}") };
    assert_eq!(items(edited, Name::Via), items(message, Name::Via)[1..]);
    assert_eq!(edited.via().span.of(edited.bytes()), second.span.of(message.bytes()));
    assert_eq!(edited.body().of(edited.bytes()), message.body().of(message.bytes()));
    let touched = if is_alone(&top) { None } else { first_line(edited, Name::Via) };
    let kept = headers_except(edited, touched.as_slice());
    assert_eq!(kept, headers_except(message, &[top.header.line]));
}

/// True when an empty entry or an empty header stands between the first two Vias: as the second one it can be read, as
/// the first one it is none (RFC 3261 section 25.1 knows no empty entries).
fn is_hidden_behind(top: &Item<'_>, message: &Message<'_>) -> bool {
    let Some(second) = message.list(Name::Via).nth(1) else { return false };
    let next =
        message.all(Name::Via).skip_while(|header| header.line != top.header.line).nth(usize::from(is_alone(top)));
    let is_in_next = next.is_some_and(|header| header.line == second.header.line);
    !is_in_next || (second.first_in_line && second.span.start != second.header.value.start)
}

/// The header that holds the first entry of a list; headers without an entry may stand before it.
fn first_line(message: &Message<'_>, name: Name) -> Option<Span> {
    message.list(name).next().map(|item| item.header.line)
}

fn is_alone(item: &Item<'_>) -> bool {
    item.first_in_line && item.last_in_line
}

/// The message, `None` when it outgrew a limit.
fn grown<'p, 'a>(parsed: &'p Parsed<'a>) -> Option<&'p Message<'a>> {
    match parsed {
        Parsed::Answerable(answerable) if answerable.fault.is_size() => None,
        Parsed::Hopeless(sip::Hopeless::TooLarge) => None,
        _ => Some(sound(parsed).unwrap_or_else(|| panic!("an edited message can be read: {parsed:?}"))),
    }
}
