//! Protocol buffers as they come over the wire, field by field and without a copy.
//!
//! Read by hand rather than into generated structs: a struct for each two-byte empty message would let a request
//! cost thirty times its size, and the walk below borrows from the body instead.

/// One value of a field, by its wire type.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Wire<'a> {
    /// Integers, booleans, enums.
    Varint(u64),
    /// `double`, `fixed64`, `sfixed64`.
    Fixed64(u64),
    /// `float`, `fixed32`.
    Fixed32(u32),
    /// Texts, bytes, messages, packed lists.
    Bytes(&'a [u8]),
}

/// The fields of a message in the order of the wire.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(match self.rest.len() {
            0..10 => "protobuf: a number is cut off".to_owned(),
            _ => "protobuf: a number has more than ten bytes".to_owned(),
        })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let fits = usize::try_from(length).ok().filter(|length| *length <= self.rest.len());
        let Some(length) = fits else {
            return Err(format!("protobuf: a field of {length} bytes where {} are left", self.rest.len()));
        };
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Wire<'a>), String> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..=0x1fff_ffff).contains(number));
        let number = number.ok_or_else(|| format!("protobuf: {} is not a field number", key >> 3))?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes"))),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes"))),
            other => return Err(format!("protobuf: field {number} has the unknown wire type {other}")),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Wire<'a> {
    fn wrong<T>(self, wanted: &str) -> Result<T, String> {
        let met = match self {
            Wire::Varint(_) => "an integer",
            Wire::Fixed64(_) => "eight bytes",
            Wire::Fixed32(_) => "four bytes",
            Wire::Bytes(_) => "a list of bytes",
        };
        Err(format!("protobuf: {met} where {wanted} belongs"))
    }

    /// A message or bytes.
    pub fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            other => other.wrong("a message"),
        }
    }

    /// The fields of a message.
    pub fn fields(self) -> Result<Fields<'a>, String> {
        self.bytes().map(Fields::of)
    }

    /// A text.
    pub fn text(self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "protobuf: a text is not UTF-8".to_owned())
    }

    /// `uint32`, `uint64`, `bool`, an enum.
    pub fn unsigned(self) -> Result<u64, String> {
        match self {
            Wire::Varint(value) => Ok(value),
            other => other.wrong("an integer"),
        }
    }

    /// `int32`, `int64`: two's complement.
    pub fn signed(self) -> Result<i64, String> {
        self.unsigned().map(|value| value as i64)
    }

    /// `sint32`, cut to its size.
    pub fn zigzag32(self) -> Result<i32, String> {
        let value = zigzag(self.unsigned()?);
        i32::try_from(value).map_err(|_| format!("protobuf: {value} does not fit 32 bits"))
    }

    /// `fixed64` and `sfixed64` by their bits.
    pub fn fixed(self) -> Result<u64, String> {
        match self {
            Wire::Fixed64(bits) => Ok(bits),
            other => other.wrong("eight bytes"),
        }
    }

    /// `double`.
    pub fn double(self) -> Result<f64, String> {
        self.fixed().map(f64::from_bits)
    }

    /// A repeated integer, packed or not.
    pub fn each_varint(self, mut each: impl FnMut(u64)) -> Result<(), String> {
        match self {
            Wire::Varint(value) => each(value),
            Wire::Bytes(bytes) => {
                let mut fields = Fields::of(bytes);
                while !fields.rest.is_empty() {
                    each(fields.varint()?);
                }
            }
            other => return other.wrong("a list of integers"),
        }
        Ok(())
    }

    /// A repeated `double` or `fixed64` by its bits, packed or not.
    pub fn each_fixed(self, mut each: impl FnMut(u64)) -> Result<(), String> {
        match self {
            Wire::Fixed64(bits) => each(bits),
            Wire::Bytes(bytes) if bytes.len().is_multiple_of(8) => {
                let (words, _) = bytes.as_chunks::<8>();
                words.iter().for_each(|word| each(u64::from_le_bytes(*word)));
            }
            Wire::Bytes(bytes) => {
                return Err(format!("protobuf: {} bytes are no list of eight-byte numbers", bytes.len()));
            }
            other => return other.wrong("a list of eight-byte numbers"),
        }
        Ok(())
    }
}

/// The signed number that a `sint` stands for.
pub fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Wire<'_>)>, String> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn fields_are_read_by_their_wire_type() {
        let message =
            [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        let read = all(&message).expect("right");
        assert_eq!(read[0], (1, Wire::Varint(150)));
        assert_eq!(read[1].1.text(), Ok("hi"));
        assert_eq!(read[2], (3, Wire::Fixed32(1)));
        assert_eq!(read[3].1.double(), Ok(1.0));
        assert_eq!(([0, 1, 2, u64::MAX].map(zigzag)), [0, -1, 1, i64::MIN]);
    }

    #[test]
    fn what_is_cut_off_or_lies_about_its_length_is_refused() {
        for wrong in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x00, 0x01],
            &[0x0b],
            &[0x80; 11],
            &[0x11, 1],
        ] {
            assert!(all(wrong).is_err(), "{wrong:?}");
        }
        assert!(Wire::Bytes(&[0xff]).text().is_err() && Wire::Bytes(&[1, 2, 3]).each_fixed(|_| {}).is_err());
        assert!(Wire::Varint(1).bytes().is_err() && Wire::Fixed32(1).double().is_err());
    }

    #[test]
    fn packed_and_plain_lists_are_the_same() {
        let mut seen = Vec::new();
        Wire::Bytes(&[1, 0x80, 1]).each_varint(|v| seen.push(v)).expect("right");
        Wire::Varint(7).each_varint(|v| seen.push(v)).expect("right");
        assert_eq!(seen, [1, 128, 7]);
    }
}
