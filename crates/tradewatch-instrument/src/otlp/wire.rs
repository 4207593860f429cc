//! Protobuf's wire format, as far as OTLP needs it written.

/// A message in the making. Fields that have their default value are left out, as proto3 does.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    pub(super) fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, 0);
            self.varint(value);
        }
    }

    /// A `sint32`, which keeps small negative numbers short.
    pub(super) fn sint(&mut self, field: u32, value: i32) {
        self.uint(field, u64::from((value << 1 ^ value >> 31) as u32));
    }

    pub(super) fn fixed(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A double in a `oneof` or with presence: written even if it is 0.
    pub(super) fn double(&mut self, field: u32, value: f64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.tag(field, 2);
            self.varint(value.len() as u64);
            self.0.extend_from_slice(value);
        }
    }

    pub(super) fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// A message within this one, written even if it is empty.
    pub(super) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.tag(field, 2);
        self.varint(inner.0.len() as u64);
        self.0.extend_from_slice(&inner.0);
    }

    /// Packed fixed-size numbers, each as its bytes.
    pub(super) fn packed_fixed(&mut self, field: u32, values: impl ExactSizeIterator<Item = u64>) {
        if values.len() > 0 {
            self.tag(field, 2);
            self.varint(8 * values.len() as u64);
            values.for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
        }
    }

    /// Packed varints.
    pub(super) fn packed_uint(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let mut inner = Message::default();
        values.for_each(|value| inner.varint(value));
        self.bytes(field, &inner.0);
    }
}

/// The value of the first field of this number that is a message, text or varint, in a message that was received.
/// `None` if it is not there or the bytes are no message.
pub(super) fn field(mut bytes: &[u8], wanted: u64) -> Option<Field<'_>> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Field::Uint(varint(&mut bytes)?),
            1 => Field::Bytes(take(&mut bytes, 8)?),
            2 => {
                let len = varint(&mut bytes)?;
                Field::Bytes(take(&mut bytes, usize::try_from(len).ok()?)?)
            }
            5 => Field::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(value);
        }
    }
    None
}

pub(super) enum Field<'a> {
    Uint(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (value, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(value)
}
