//! The fields of a protobuf message, read where they stand.

use std::ops::RangeInclusive;

pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

/// The fields of a message, in their order; one that can't be read is `None`, and the last.
pub(crate) struct Fields<'a>(&'a [u8]);

/// The numbers that a field may have. SOURCE: Protocol Buffers, Language Guide: Assigning Field Numbers.
const FIELDS: RangeInclusive<u64> = 1..=(1 << 29) - 1;

/// What a field holds.
pub(crate) enum Value<'a> {
    Number(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    pub(crate) const fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// What was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// SOURCE: Protocol Buffers, Encoding: Message Structure.
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                let (bytes, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Value::Eight(*bytes)
            }
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                let (_, rest) = self.0.split_first_chunk::<4>()?;
                self.0 = rest;
                Value::Four
            }
            _ => return None,
        };
        Some((key >> 3, value)).filter(|(number, _)| FIELDS.contains(number))
    }

    /// SOURCE: Protocol Buffers, Encoding: Base 128 Varints. The tenth byte holds the highest bit of all.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(number).filter(|_| place < 9 || byte < 2);
            }
        }
        None
    }
}
