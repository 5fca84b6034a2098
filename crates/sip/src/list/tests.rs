use super::*;

/// The message that holds `values` as Route headers, with others around them.
fn message(values: &[&str]) -> (String, Vec<Header>) {
    let mut text = String::from("X: a, b\r\n");
    let mut headers = Vec::new();
    for value in values {
        let start = text.len();
        text.push_str("Route: ");
        let value_start = text.len();
        text.push_str(value);
        let value_end = text.len();
        text.push_str("\r\n");
        headers.push(Header {
            name: Name::Route,
            name_span: Span::new(start, start + 5),
            value: Span::new(value_start, value_end),
            line: Span::new(start, text.len()),
            is_single: value.trim() == *value && count(value.as_bytes(), Span::new(0, value.len())) == Some(1),
        });
        headers.push(Header { name: Name::Other, ..headers[headers.len() - 1] });
    }
    (text, headers)
}

fn entries(values: &[&str]) -> Vec<(String, bool, bool)> {
    let (text, headers) = message(values);
    List::new(text.as_bytes(), &headers, Name::Route)
        .map(|item| (text[item.span.range()].to_owned(), item.first_in_line, item.last_in_line))
        .collect()
}

/// What is left after entry `n` is removed.
fn without(n: usize, values: &[&str]) -> String {
    let (mut text, headers) = message(values);
    let item = List::new(text.as_bytes(), &headers, Name::Route).nth(n).unwrap();
    let removal = item.removal(text.as_bytes());
    text.replace_range(removal.range(), "");
    text.split_off("X: a, b\r\n".len())
}

#[test]
fn entries_across_and_within_lines() {
    let found = entries(&["<sip:a;lr>", "<sip:b,c>\t,\r\n \"x, \\\" y\" <sip:d> ;p=\",\"", "<sip:e>"]);
    let expected = [
        ("<sip:a;lr>", true, true),
        ("<sip:b,c>", true, false),
        ("\"x, \\\" y\" <sip:d> ;p=\",\"", false, true),
        ("<sip:e>", true, true),
    ];
    assert_eq!(found, expected.map(|(text, first, last)| (text.to_owned(), first, last)));
}

#[test]
fn entries_of_no_byte_are_passed_over() {
    assert_eq!(entries(&["", " ", ",, ,", "a,,b", ",c,"]), {
        let expected = [("a", true, false), ("b", false, true), ("c", true, true)];
        expected.map(|(text, first, last)| (text.to_owned(), first, last))
    });
}

#[test]
fn what_does_not_end_goes_to_the_end_of_its_line() {
    assert_eq!(entries(&["<sip:a, b", "\"c, d"]).len(), 2);
    let (text, headers) = message(&["<sip:a, b", "\"c, d", "<a,>,\"b,\",c", ","]);
    let counts: Vec<_> = headers.iter().step_by(2).map(|header| count(text.as_bytes(), header.value)).collect();
    assert_eq!(counts, [None, None, Some(3), Some(2)]);
}

#[test]
fn removing_an_entry_leaves_the_others_a_list() {
    assert_eq!(without(0, &["a", "b"]), "Route: b\r\n");
    assert_eq!(without(0, &["a ,\r\n b, c"]), "Route: b, c\r\n");
    assert_eq!(without(1, &["a, b , c"]), "Route: a, c\r\n");
    assert_eq!(without(2, &["a, b\r\n , c"]), "Route: a, b\r\n");
    assert_eq!(without(0, &["a,,"]), "");
    assert_eq!(without(1, &["a,,b,,"]), "Route: a\r\n");
}
