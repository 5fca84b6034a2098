//! JSON objects, written member by member into a buffer that is used again. What is written for every call is written with
//! this: the names are ours and need no escaping, and most texts need none either.

/// An object that is being written.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl Object<'_> {
    /// Begins an object behind what `out` has.
    pub fn begin(out: &mut Vec<u8>) -> Object<'_> {
        out.push(b'{');
        Object { out, is_empty: true }
    }

    /// A member with a text.
    pub fn text(&mut self, name: &'static str, value: &str) -> &mut Self {
        text(self.member(name), value);
        self
    }

    /// The same, or no member.
    pub fn word(&mut self, name: &'static str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// A member with a number, or none.
    pub fn number(&mut self, name: &'static str, value: impl Into<Option<u64>>) -> &mut Self {
        if let Some(value) = value.into() {
            escaped(self.member(name), &value);
        }
        self
    }

    /// A member that is true, or none.
    pub fn truth(&mut self, name: &'static str, is_true: bool) -> &mut Self {
        if is_true {
            self.member(name).extend_from_slice(b"true");
        }
        self
    }

    /// A member with a list, each item written by `write`; none without items.
    pub fn list<T>(&mut self, name: &'static str, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> &mut Self {
        if items.is_empty() {
            return self;
        }
        let out = self.member(name);
        let mut mark = b'[';
        for item in items {
            out.push(mark);
            write(out, item);
            mark = b',';
        }
        out.push(b']');
        self
    }

    /// A member whose value is written to what this returns.
    pub fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Ends it.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// A text as JSON.
pub fn text(out: &mut Vec<u8>, text: &str) {
    let is_odd = |odd: bool, byte: &u8| odd | (*byte < b' ') | (*byte == b'"') | (*byte == b'\\');
    if text.as_bytes().iter().fold(false, is_odd) {
        return escaped(out, text);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Texts and numbers always have a JSON form, and memory takes what is written.
fn escaped<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _written = serde_json::to_writer(out, value);
}
