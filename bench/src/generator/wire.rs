//! A look into messages of protobuf, without decoding them: an answer is compared by the one field that counts.

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number.
    Number(u64),
    /// A message, a text, or bytes.
    Bytes(&'a [u8]),
    /// A number of fixed width, which nobody here looks at.
    Fixed,
}

/// The fields of a message, as they stand in it; they end where it can't be read.
#[derive(Clone, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let key = self.number()?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => self.bytes(8).map(|_| Field::Fixed)?,
            2 => {
                let length = self.number()?;
                Field::Bytes(self.bytes(usize::try_from(length).ok()?)?)
            }
            5 => self.bytes(4).map(|_| Field::Fixed)?,
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

/// The number in a field; 0, as protobuf has it, where it is absent.
pub fn number(message: &[u8], field: u64) -> u64 {
    let mut found = Fields(message).filter_map(|(at, value)| match value {
        Field::Number(number) if at == field => Some(number),
        _ => None,
    });
    found.next().unwrap_or_default()
}

/// The message, text or bytes in a field.
pub fn bytes(message: &[u8], field: u64) -> Option<&[u8]> {
    let mut found = Fields(message).filter_map(|(at, value)| match value {
        Field::Bytes(bytes) if at == field => Some(bytes),
        _ => None,
    });
    found.next()
}

#[cfg(test)]
mod tests {
    use caed_proto::v1;
    use prost::Message;

    use super::*;

    #[test]
    fn fields_are_found_and_what_is_cut_short_has_no_more() {
        let challenge =
            v1::Challenge { nbf: 1 << 40, code: "code".to_owned(), ..Default::default() };
        let knowledge = v1::Knowledge { generation: 300, ..Default::default() };
        let reply = v1::EvaluateReply {
            verdict: 2,
            challenge: Some(challenge.clone()),
            http_status: 401,
            knowledge: Some(knowledge),
            ..Default::default()
        };
        let bytes_of = reply.encode_to_vec();
        assert_eq!(number(&bytes_of, 1), 2);
        assert_eq!(number(&bytes_of, 5), 401);
        assert_eq!(number(&bytes_of, 7), 0);
        let inner = bytes(&bytes_of, 4).expect("a challenge");
        assert_eq!(inner, challenge.encode_to_vec());
        assert_eq!(number(inner, 3), 1 << 40);
        assert_eq!(number(bytes(&bytes_of, 8).expect("knowledge"), 1), 300);
        for end in 0..bytes_of.len() {
            assert!(Fields(&bytes_of[..end]).count() <= 4, "{end}");
        }
        assert_eq!(Fields(&[0xff; 11]).next(), None, "a number that does not end");
        assert_eq!(Fields(&[9, 1, 2, 3, 4, 5, 6, 7, 8, 21, 1, 2, 3, 4]).count(), 2, "fixed widths");
    }
}
