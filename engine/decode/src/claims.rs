//! The claims of a token, as core reads them.

use caed_core::request::{Claims, Malformed, Token, announces_cp1};
use caed_proto::v1;

/// Reads a token's claims.
pub fn token(claims: &v1::TokenClaims) -> Result<Token<'_>, Malformed> {
    let v1::TokenClaims {
        iss,
        tid,
        sub,
        iat,
        exp,
        nbf,
        sid,
        jti,
        azp,
        deviceid,
        xms_cc,
        aud,
        ipaddr,
        acct,
        auth_time,
        idtyp,
        groups,
        wids,
        judged,
    } = claims;
    Token::parse(&Claims {
        issuer: iss.as_deref(),
        tenant: tid.as_deref(),
        subject: sub.as_deref(),
        issued_at: *iat,
        expires: *exp,
        not_before: *nbf,
        session: sid.as_deref(),
        token_id: jti.as_deref(),
        client: azp.as_deref(),
        device: deviceid.as_deref(),
        answers_challenges: xms_cc.iter().any(|value| announces_cp1(value)),
        audiences: aud,
        address: ipaddr.as_deref(),
        account_kind: *acct,
        authenticated: *auth_time,
        identity_type: idtyp.as_deref(),
        groups: groups.as_ref().map(|claim| claim.values.as_slice()),
        roles: wids.as_ref().map(|claim| claim.values.as_slice()),
        judged: judged.as_deref(),
    })
}
