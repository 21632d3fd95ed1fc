//! The bearer token of a request, out of its lines of `Authorization`. SOURCE: RFC 6750 section 2.1.

use std::borrow::Cow;

const BEARER: &str = "Bearer";

/// The bearer token of these lines. Gateways make one line of several with commas between them, so that nobody can
/// tell how many there were: where a bearer token is not alone the whole is taken for one, and is none that anybody
/// believes (T2).
pub fn token<Line: AsRef<str>>(lines: &[Line]) -> Option<String> {
    let text = match lines {
        [line] => Cow::Borrowed(line.as_ref()),
        lines => lines.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",").into(),
    };
    let token = if text.contains(',') {
        text.split(',').find_map(of_credential).map(|_| text.as_ref())
    } else {
        of_credential(&text)
    };
    token.filter(|token| !token.is_empty()).map(str::to_owned)
}

/// What stands behind `Bearer`.
fn of_credential(credential: &str) -> Option<&str> {
    let credential = credential.trim();
    let (scheme, token) = credential.split_once([' ', '\t']).unwrap_or((credential, ""));
    scheme.eq_ignore_ascii_case(BEARER).then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_stands_alone_behind_bearer() {
        for (lines, expected) in [
            (&[][..], None),
            (&["Bearer a.b.c"], Some("a.b.c")),
            (&["bearer a.b.c"], Some("a.b.c")),
            (&["BEARER   a.b.c  "], Some("a.b.c")),
            (&["Bearer\ta.b.c"], Some("a.b.c")),
            (&["Bearer"], None),
            (&["Bearer "], None),
            (&[""], None),
            (&["Basic YTpi"], None),
            (&["BearerX a.b.c"], None),
            (&["DPoP a.b.c"], None),
            (&["Digest username=\"a\", realm=\"b\""], None),
            (&["Basic YTpi", "Basic YTpi"], None),
            // Two, whichever way a gateway writes them: one of them could be the resource's.
            (&["Bearer a.b.c", "Bearer d.e.f"], Some("Bearer a.b.c,Bearer d.e.f")),
            (&["Bearer a.b.c,Bearer d.e.f"], Some("Bearer a.b.c,Bearer d.e.f")),
            (&["Bearer a.b.c", "Bearer a.b.c"], Some("Bearer a.b.c,Bearer a.b.c")),
            (&["Basic YTpi, bearer d.e.f"], Some("Basic YTpi, bearer d.e.f")),
            (&["Bearer a.b.c,"], Some("Bearer a.b.c,")),
            (&["Bearer, Basic YTpi"], Some("Bearer, Basic YTpi")),
        ] {
            assert_eq!(token(lines).as_deref(), expected, "{lines:?}");
        }
    }
}
