//! Whether claims are those of a token (T2).
//!
//! A gateway that verified a token hands on its claims, and the request with a token goes on to the
//! resource. Both must be the same token: else somebody is let in for what another one may. The token is
//! read here, not verified: whoever may vouch did that.

use caed_decode::claims::{self, InvalidPayload};
use caed_proto::v1::{ClaimValues, TokenClaims};

use crate::json::Flaw;
use crate::limits;
use crate::token::{self, Parts};

/// Why claims are not taken for those of a token. It repeats no part of either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// The token can't be read.
    #[error(
        "the token that is presented is no signed JWT of at most {} bytes",
        limits::TOKEN_BYTES_MAX
    )]
    Form,
    /// Its payload can't be read.
    #[error("the payload of the token that is presented {0}")]
    Payload(Flaw),
    /// A claim of another type.
    #[error("the token that is presented: {0}")]
    Claims(InvalidPayload),
    /// Another token's.
    #[error("claim `{0}` is not the one of the token that is presented")]
    Claim(&'static str),
}

/// Checks that every claim that is given is the token's. A token may say more.
pub(crate) fn agree(token: &[u8], given: &TokenClaims) -> Result<(), Disagreement> {
    let Parts { payload, .. } = Parts::of(token).map_err(|_| Disagreement::Form)?;
    let payload = token::decoded(payload).map_err(Disagreement::Payload)?;
    let said = claims::members(payload).map_err(Disagreement::Claims)?;
    let text = |given: &Option<String>, said: &Option<String>| given.is_none() || given == said;
    let number = |given: Option<i64>, said: Option<i64>| given.is_none() || given == said;
    let list = |given: &[String], said: &[String]| given.is_empty() || given == said;
    let values =
        |given: &Option<ClaimValues>, said: &Option<ClaimValues>| given.is_none() || given == said;
    let TokenClaims {
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
    } = given;
    for (agrees, claim) in [
        (text(iss, &said.iss), "iss"),
        // Where the token has none, the tenant may be the one that its issuer speaks for.
        (said.tid.is_none() || text(tid, &said.tid), "tid"),
        (text(sub, &said.sub), "sub"),
        (number(*iat, said.iat), "iat"),
        (number(*exp, said.exp), "exp"),
        (number(*nbf, said.nbf), "nbf"),
        (text(sid, &said.sid), "sid"),
        (text(jti, &said.jti), "jti"),
        (text(azp, &said.azp), "azp"),
        (text(deviceid, &said.deviceid), "deviceid"),
        (list(xms_cc, &said.xms_cc), "xms_cc"),
        (list(aud, &said.aud), "aud"),
        (text(ipaddr, &said.ipaddr), "ipaddr"),
        (number(*acct, said.acct), "acct"),
        (number(*auth_time, said.auth_time), "auth_time"),
        (text(idtyp, &said.idtyp), "idtyp"),
        (values(groups, &said.groups), "groups"),
        (values(wids, &said.wids), "wids"),
        (text(judged, &said.judged), "judged"),
    ] {
        if !agrees {
            return Err(Disagreement::Claim(claim));
        }
    }
    Ok(())
}
