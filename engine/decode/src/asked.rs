//! What is asked, wherever it stands: in a message of the generated code, or in the bytes that it came in, of which
//! nothing is copied but a chain of proxies.
//!
//! Of bytes, what is usual is read here. Whatever is wrong, not known, or seldom written so is left to the generated
//! code, which everything here agrees with.

use std::borrow::Cow;

use caed_core::request::{Claims, Texts, announces_cp1};
use caed_proto::v1;
use prost::{DecodeError, Message};

use crate::claims;
use crate::fields::{Fields, Value, text};
use crate::limits;

/// A question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked<'a> {
    /// The token that was presented.
    pub token: Option<Token<'a>>,
    /// The profile's name; empty: the configured one.
    pub profile: &'a str,
    /// Where the request comes from.
    pub client: Option<Client<'a>>,
    /// The token that goes on to the resource; empty: none.
    pub presented: &'a str,
}

/// A token, as it is presented.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each question")]
pub enum Token<'a> {
    /// The claims of one that the caller has verified.
    Claims(Given<'a>),
    /// It itself.
    Jwt(&'a str),
}

/// The claims of a token, by somebody's word.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Given<'a> {
    /// What decisions read.
    pub claims: Claims<'a>,
    /// `xms_cc`, which says whether the client answers challenges.
    pub capabilities: Texts<'a>,
}

/// Where a request comes from, by the word of whoever asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Client<'a> {
    /// From this address.
    Ip(&'a str),
    /// From none by its nature.
    NoneByNature(bool),
    /// From whatever the proxies tell.
    Forwarded(Cow<'a, v1::ForwardedChain>),
}

impl<'a> From<&'a v1::EvaluateRequest> for Asked<'a> {
    fn from(request: &'a v1::EvaluateRequest) -> Self {
        use v1::client_address::Is;
        use v1::evaluate_request as wire;
        let v1::EvaluateRequest { token, profile, client, presented } = request;
        let token = token.as_ref().map(|token| match token {
            wire::Token::Claims(claims) => Token::Claims(claims.into()),
            wire::Token::Jwt(token) => Token::Jwt(token),
        });
        let client = client.as_ref().and_then(|v1::ClientAddress { is }| is.as_ref());
        let client = client.map(|is| match is {
            Is::Ip(text) => Client::Ip(text),
            Is::NoneByNature(holds) => Client::NoneByNature(*holds),
            Is::Forwarded(chain) => Client::Forwarded(Cow::Borrowed(chain)),
        });
        Self { token, profile, client, presented }
    }
}

impl<'a> From<&'a v1::TokenClaims> for Given<'a> {
    fn from(claims: &'a v1::TokenClaims) -> Self {
        Self { claims: claims::of(claims), capabilities: Texts::Listed(&claims.xms_cc) }
    }
}

impl<'a> Asked<'a> {
    /// Reads a [`v1::EvaluateRequest`]; `None` where the generated code is to read it.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut request = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, Value::Bytes(given)) if request.token.is_none() => {
                    request.token = Some(Token::Claims(Given::read(given)?));
                }
                (2, Value::Bytes(token)) if request.token.is_none() => {
                    request.token = Some(Token::Jwt(text(token)?));
                }
                (3, Value::Bytes(name)) => request.profile = text(name)?,
                (4, Value::Bytes(address)) if request.client.is_none() => {
                    request.client = Some(Client::read(address)?);
                }
                (5, Value::Bytes(token)) => request.presented = text(token)?,
                _ => return None,
            }
        }
        Some(request)
    }

    /// Reads a [`v1::EvaluateBatchRequest`] of so many requests at the most; `None` where the generated code is to read
    /// it.
    pub fn read_batch(message: &'a [u8], most: usize) -> Option<Vec<Self>> {
        let count = Fields::of(message).count();
        if count > most {
            return None;
        }
        let mut batch = Vec::with_capacity(count);
        for field in Fields::of(message) {
            let (1, Value::Bytes(request)) = field? else { return None };
            batch.push(Self::read(request)?);
        }
        Some(batch)
    }

    /// Reads it where it stands, or else by the generated code.
    ///
    /// # Errors
    ///
    /// Where that can't, either.
    pub fn decode(
        message: &'a [u8],
        decoded: &'a mut Option<v1::EvaluateRequest>,
    ) -> Result<Self, DecodeError> {
        if let Some(asked) = Self::read(message) {
            return Ok(asked);
        }
        Ok(Self::from(&*decoded.insert(v1::EvaluateRequest::decode(message)?)))
    }
}

impl<'a> Client<'a> {
    fn read(address: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::of(address);
        let client = match fields.next()?? {
            (1, Value::Bytes(address)) => Self::Ip(text(address)?),
            (2, Value::Number(holds)) => Self::NoneByNature(holds != 0),
            (3, Value::Bytes(chain)) => {
                // Groups within each other it would take deeper than within the whole.
                let is_plain = Fields::of(chain).all(|field| field.is_some());
                let chain = v1::ForwardedChain::decode(chain).ok().filter(|_| is_plain)?;
                Self::Forwarded(Cow::Owned(chain))
            }
            _ => return None,
        };
        fields.next().is_none().then_some(client)
    }
}

impl<'a> Given<'a> {
    fn read(message: &'a [u8]) -> Option<Self> {
        if message.len() > limits::CLAIMS_BYTES_MAX {
            return None;
        }
        let mut claims = Claims::default();
        let mut capabilities = Texts::default();
        for field in Fields::of(message) {
            match field? {
                (1, Value::Bytes(value)) => claims.issuer = Some(text(value)?),
                (2, Value::Bytes(value)) => claims.tenant = Some(text(value)?),
                (3, Value::Bytes(value)) => claims.subject = Some(text(value)?),
                (4, Value::Number(value)) => claims.issued_at = Some(signed(value)),
                (5, Value::Number(value)) => claims.expires = Some(signed(value)),
                (6, Value::Number(value)) => claims.not_before = Some(signed(value)),
                (7, Value::Bytes(value)) => claims.session = Some(text(value)?),
                (8, Value::Bytes(value)) => claims.token_id = Some(text(value)?),
                (9, Value::Bytes(value)) => claims.client = Some(text(value)?),
                (10, Value::Bytes(value)) => claims.device = Some(text(value)?),
                (CAPABILITIES, Value::Bytes(value)) => {
                    claims.answers_challenges |= announces_cp1(text(value)?);
                    capabilities = Texts::Within(message, next::<CAPABILITIES>);
                }
                (AUDIENCES, Value::Bytes(value)) => {
                    text(value)?;
                    claims.audiences = Texts::Within(message, next::<AUDIENCES>);
                }
                (13, Value::Bytes(value)) => claims.address = Some(text(value)?),
                (14, Value::Number(value)) => claims.account_kind = Some(signed(value)),
                (15, Value::Number(value)) => claims.authenticated = Some(signed(value)),
                (16, Value::Bytes(value)) => claims.identity_type = Some(text(value)?),
                (17, Value::Bytes(values)) if claims.groups.is_none() => {
                    claims.groups = Some(read_values(values)?);
                }
                (18, Value::Bytes(values)) if claims.roles.is_none() => {
                    claims.roles = Some(read_values(values)?);
                }
                (19, Value::Bytes(value)) => claims.judged = Some(text(value)?),
                _ => return None,
            }
        }
        Some(Self { claims, capabilities })
    }
}

/// Fields of [`v1::TokenClaims`] that are repeated, and the one of [`v1::ClaimValues`].
const CAPABILITIES: u64 = 11;
const AUDIENCES: u64 = 12;
const VALUES: u64 = 1;

fn read_values(message: &[u8]) -> Option<Texts<'_>> {
    for field in Fields::of(message) {
        let (VALUES, Value::Bytes(value)) = field? else { return None };
        text(value)?;
    }
    Some(Texts::Within(message, next::<VALUES>))
}

/// The next text of a repeated field, and what stands behind it.
fn next<const FIELD: u64>(message: &[u8]) -> Option<(&str, &[u8])> {
    let mut fields = Fields::of(message);
    loop {
        if let (field, Value::Bytes(value)) = fields.next()??
            && field == FIELD
        {
            return Some((text(value)?, fields.rest()));
        }
    }
}

/// SOURCE: Protocol Buffers, Encoding: `int64` is in two's complement.
const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

#[cfg(test)]
mod tests {
    use v1::client_address::Is;
    use v1::evaluate_request as wire;

    use super::*;

    /// Everything that can be asked at once.
    fn everything() -> v1::EvaluateRequest {
        let text = |text: &str| Some(text.to_owned());
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let values = |values| Some(v1::ClaimValues { values: texts(values) });
        let claims = v1::TokenClaims {
            iss: text("https://idp.example"),
            tid: text("contoso"),
            sub: text("anna"),
            iat: Some(1_768_478_400),
            exp: Some(i64::MAX),
            nbf: Some(-1),
            sid: text("s"),
            jti: text("t"),
            azp: text("app"),
            deviceid: text("d"),
            xms_cc: texts(&["other", "CP1"]),
            aud: texts(&["api://files", "", "api://mäil"]),
            ipaddr: text("198.51.100.7"),
            acct: Some(1),
            auth_time: Some(1_768_478_399),
            idtyp: text("user"),
            groups: values(&["g-1", "g-2"]),
            wids: values(&[]),
            judged: text("true"),
        };
        v1::EvaluateRequest {
            token: Some(wire::Token::Claims(claims)),
            profile: "exchange".to_owned(),
            client: Some(from(Is::Ip("203.0.113.9".to_owned()))),
            presented: "a.b.c".to_owned(),
        }
    }

    fn from(is: Is) -> v1::ClientAddress {
        v1::ClientAddress { is: Some(is) }
    }

    fn jwt(client: Option<v1::ClientAddress>) -> v1::EvaluateRequest {
        let token = Some(wire::Token::Jwt("a.b.c".to_owned()));
        v1::EvaluateRequest { token, client, ..Default::default() }
    }

    #[test]
    fn what_is_usual_is_read_where_it_stands() {
        let chain = v1::ForwardedChain {
            peer: "192.0.2.1".to_owned(),
            x_forwarded_for: vec!["198.51.100.7".to_owned(), "192.0.2.2".to_owned()],
            forwarded: vec!["for=198.51.100.7".to_owned()],
        };
        let messages = [
            everything(),
            jwt(None),
            jwt(Some(from(Is::NoneByNature(true)))),
            jwt(Some(from(Is::NoneByNature(false)))),
            jwt(Some(from(Is::Forwarded(chain)))),
            v1::EvaluateRequest::default(),
        ];
        for message in &messages {
            let bytes = message.encode_to_vec();
            let asked = Asked::read(&bytes).expect("it is usual");
            assert_eq!(asked, Asked::from(message));
        }
        let Some(Token::Claims(given)) = Asked::from(&messages[0]).token else {
            panic!("the first has claims");
        };
        assert_eq!(given.claims.audiences.iter().last(), Some("api://mäil"));
        assert!(given.claims.answers_challenges);
    }

    #[test]
    fn everything_else_is_left_to_the_generated_code() {
        let everything = everything().encode_to_vec();
        let and = |more: &[u8]| [everything.as_slice(), more].concat();
        let no_kind = jwt(Some(v1::ClientAddress::default()));
        for (what, bytes) in [
            ("a field that is not known", and(&[0x32, 0])),
            ("another token", and(&[0x12, 1, b'a'])),
            ("another address", and(&[0x22, 2, 0x10, 1])),
            ("a token that is a number", vec![0x10, 1]),
            ("a token that is no text", vec![0x12, 1, 0xff]),
            ("a length without an end", vec![0x12, 0x80]),
            ("four bytes", vec![0x15, 1, 2, 3, 4]),
            ("groups in a chain", {
                let groups = [[0x23; 99], [0x24; 99]].concat();
                [&[0x22, 0xc9, 1, 0x1a, 0xc6, 1][..], &groups].concat()
            }),
            ("more claims than a token has", {
                let claims = vec![0; limits::CLAIMS_BYTES_MAX];
                let aud = vec![String::from_utf8(claims).expect("zeros are text")];
                let claims = v1::TokenClaims { aud, ..Default::default() };
                let token = Some(wire::Token::Claims(claims));
                v1::EvaluateRequest { token, ..Default::default() }.encode_to_vec()
            }),
            ("a number beyond 64 bits", [&[0x0a, 11, 0x20][..], &[0xff; 9], &[2]].concat()),
            ("an address of no kind", no_kind.encode_to_vec()),
        ] {
            assert_eq!(Asked::read(&bytes), None, "{what}");
        }
        for end in 0..everything.len() {
            let cut = &everything[..end];
            let asked = Asked::read(cut);
            let message = v1::EvaluateRequest::decode(cut);
            assert_eq!(asked, message.as_ref().ok().map(Asked::from), "the first {end} bytes");
        }
    }

    #[test]
    fn a_batch_is_read_where_it_stands_or_not_at_all() {
        let batch = |requests: &[v1::EvaluateRequest]| {
            v1::EvaluateBatchRequest { requests: requests.to_vec() }.encode_to_vec()
        };
        let messages = [everything(), jwt(None), v1::EvaluateRequest::default()];
        let three = batch(&messages);
        let expected: Vec<_> = messages.iter().map(Asked::from).collect();
        assert_eq!(Asked::read_batch(&three, 3), Some(expected));
        assert_eq!(Asked::read_batch(&[], 0), Some(Vec::new()));
        let no_kind = jwt(Some(v1::ClientAddress::default()));
        for (what, bytes, most) in [
            ("more than may be", three.clone(), 2),
            ("one that is not usual", batch(&[everything(), no_kind]), 3),
            ("a field that is not known", [three.as_slice(), &[0x12, 0]].concat(), 4),
            ("the first bytes", three[..three.len() - 1].to_vec(), 3),
        ] {
            assert_eq!(Asked::read_batch(&bytes, most), None, "{what}");
        }
    }

    #[test]
    fn what_is_not_usual_is_decoded() {
        let no_kind = jwt(Some(v1::ClientAddress::default()));
        let mut decoded = None;
        let bytes = no_kind.encode_to_vec();
        assert_eq!(Asked::decode(&bytes, &mut decoded), Ok(Asked::from(&no_kind)));
        assert!(Asked::decode(&[0x12, 0x80], &mut None).is_err());
    }
}
