//! The Redis protocol: requests in, replies out, versions 2 and 3.

use std::fmt::Write as _;

/// Words of one request.
pub const WORDS_MAX: usize = 4_096;
/// Bytes of one word.
pub const WORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one request line (inline commands and length headers).
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One request: the command's name and its arguments.
pub type Request = Vec<Vec<u8>>;

/// Takes requests out of a byte stream as they become whole.
#[derive(Debug, Default)]
pub struct Parser {
    bytes: Vec<u8>,
    /// Where the next request begins in `bytes`.
    at: usize,
}

/// The stream is not the Redis protocol; the connection has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct ProtocolError(String);

impl Parser {
    /// Adds what was read from the connection.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole request; `None` when more bytes are needed.
    ///
    /// # Errors
    /// If the bytes cannot become a request. The parser is of no use afterwards.
    pub fn next_request(&mut self) -> Result<Option<Request>, ProtocolError> {
        let mut reader = Reader { bytes: &self.bytes, at: self.at };
        let Some(request) = reader.request()? else { return Ok(None) };
        self.at = reader.at;
        Ok(Some(request))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn request(&mut self) -> Result<Option<Request>, ProtocolError> {
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            match line.split_first() {
                None => {}
                Some((b'*', count)) => return self.array(count),
                Some(_) => {
                    let words: Request = line
                        .split(u8::is_ascii_whitespace)
                        .filter(|word| !word.is_empty())
                        .map(<[u8]>::to_vec)
                        .collect();
                    if !words.is_empty() {
                        return Ok(Some(words));
                    }
                }
            }
        }
    }

    fn array(&mut self, count: &[u8]) -> Result<Option<Request>, ProtocolError> {
        let count = length(count, WORDS_MAX, "multibulk")?;
        let mut words = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let Some(header) = self.line()? else { return Ok(None) };
            let Some((b'$', len)) = header.split_first() else {
                let first = header.first().map_or(' ', |byte| char::from(*byte));
                return Err(ProtocolError(format!("expected '$', got '{first}'")));
            };
            let len = length(len, WORD_BYTES_MAX, "bulk")?;
            let Some(word) = self.bytes.get(self.at..self.at + len) else { return Ok(None) };
            match self.bytes.get(self.at + len..self.at + len + 2) {
                None => return Ok(None),
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError("a word is longer than announced".to_owned())),
            }
            self.at += len + 2;
            words.push(word.to_vec());
        }
        Ok(Some(words))
    }

    fn line(&mut self) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().take(LINE_BYTES_MAX + 1).position(|byte| *byte == b'\n') else {
            if rest.len() > LINE_BYTES_MAX {
                return Err(ProtocolError("too big inline request".to_owned()));
            }
            return Ok(None);
        };
        self.at += end + 1;
        let line = &rest[..end];
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

fn length(digits: &[u8], max: usize, what: &str) -> Result<usize, ProtocolError> {
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok());
    match number {
        Some(number) if number <= 0 && what == "multibulk" => Ok(0),
        Some(number) if number >= 0 && number as u64 <= max as u64 => Ok(number as usize),
        _ => Err(ProtocolError(format!("invalid {what} length"))),
    }
}

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+OK`.
    Status(&'static str),
    /// `-ERR …`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// Nothing there.
    Nil,
    /// A list.
    Array(Vec<Reply>),
    /// Pairs; a flat list in version 2.
    Map(Vec<(Reply, Reply)>),
    /// Sent without being asked; an ordinary list in version 2.
    Push(Vec<Reply>),
}

impl Reply {
    /// A string reply.
    pub fn text(text: impl Into<String>) -> Reply {
        Reply::Bulk(text.into().into_bytes())
    }

    /// Appends the reply as the protocol `version` (2 or 3) has it.
    pub fn write(&self, version: u8, out: &mut Vec<u8>) {
        let header = |out: &mut Vec<u8>, kind: char, value: i64| {
            let mut line = String::new();
            let _ = write!(line, "{kind}{value}\r\n"); // Writing to a String cannot fail.
            out.extend_from_slice(line.as_bytes());
        };
        match self {
            Reply::Status(text) => out.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Reply::Error(text) => {
                let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                out.extend_from_slice(format!("-{line}\r\n").as_bytes());
            }
            Reply::Integer(value) => header(out, ':', *value),
            Reply::Bulk(bytes) => {
                header(out, '$', bytes.len() as i64);
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Reply::Nil => out.extend_from_slice(if version == 3 { b"_\r\n" } else { b"$-1\r\n" }),
            Reply::Array(items) => {
                header(out, '*', items.len() as i64);
                items.iter().for_each(|item| item.write(version, out));
            }
            Reply::Push(items) => {
                header(out, if version == 3 { '>' } else { '*' }, items.len() as i64);
                items.iter().for_each(|item| item.write(version, out));
            }
            Reply::Map(pairs) => {
                let (kind, count) = if version == 3 { ('%', pairs.len()) } else { ('*', pairs.len() * 2) };
                header(out, kind, count as i64);
                for (key, value) in pairs {
                    key.write(version, out);
                    value.write(version, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<Vec<Request>, String> {
        let mut parser = Parser::default();
        parser.feed(bytes);
        let mut requests = Vec::new();
        while let Some(request) = parser.next_request().map_err(|error| error.to_string())? {
            requests.push(request);
        }
        Ok(requests)
    }

    #[test]
    fn requests_are_read() {
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Request>();
        assert_eq!(
            parse(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n"),
            Ok(vec![words(&["GET", "a"]), words(&["PING"])])
        );
        assert_eq!(parse(b"set  a b\n\r\n"), Ok(vec![words(&["set", "a", "b"])]));
        assert_eq!(parse(b"*1\r\n$4\r\nPIN"), Ok(vec![]));
        assert_eq!(parse(b"*0\r\n*-1\r\n"), Ok(vec![vec![], vec![]]));
        assert!(parse(b"*1\r\nPING\r\n").expect_err("no $").contains("expected '$'"));
        assert!(parse(b"*999999\r\n").expect_err("too many").contains("multibulk"));
        assert!(parse(b"*1\r\n$99999999\r\n").expect_err("too long").contains("bulk"));
        assert!(parse(b"*1\r\n$1\r\nabc\r\n").expect_err("longer").contains("longer than announced"));
        assert!(parse(&[b'a'; 70_000]).expect_err("endless line").contains("too big"));
    }

    #[test]
    fn replies_differ_between_versions() {
        let reply = Reply::Map(vec![(Reply::text("a"), Reply::Nil), (Reply::text("b"), Reply::Integer(-2))]);
        let written = |version| {
            let mut out = Vec::new();
            reply.write(version, &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(2), "*4\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n:-2\r\n");
        assert_eq!(written(3), "%2\r\n$1\r\na\r\n_\r\n$1\r\nb\r\n:-2\r\n");
        let mut out = Vec::new();
        Reply::Error("ERR bad\r\n+OK".to_owned()).write(2, &mut out);
        assert_eq!(out, b"-ERR bad  +OK\r\n", "an error stays one line");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_split_gives_the_same_requests(
            words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
            cuts in proptest::collection::vec(1_usize..7, 1..200),
        ) {
            let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
            for word in &words {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
            let mut parser = Parser::default();
            let (mut found, mut at) = (Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let end = (at + cut).min(bytes.len());
                parser.feed(&bytes[at..end]);
                at = end;
                found.extend(parser.next_request().expect("well formed"));
            }
            prop_assert_eq!(found, vec![words]);
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
