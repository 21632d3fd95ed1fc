//! Who watches while a decision is made.
//!
//! An explanation must be of the decision that was made, not of another one that should come to the same.
//! So there is one evaluation, in [`crate::decide`], and it shows each thing that it looks at to a
//! [`Witness`]. On the path of a request nobody watches ([`Nobody`]): what would be shown is never made,
//! and the compiler leaves nothing of it.

use std::time::Duration;

use crate::consequence::Facet;
use crate::decision::{BlockRow, ScopeName};
use crate::directory::Standing;
use crate::evaluate::{Counting, Known, Subject, Survey};
use crate::event::RiskLevel;
use crate::ids::ObjectKey;
use crate::index::names::Number;
use crate::policy::Mode;
use crate::row::Cutoff;
use crate::rules::Issuer;
use crate::tenant::Tenant;
use crate::time::{UnixMillis, UnixSeconds};

/// Is shown what a decision looks at, in the order in which it does.
pub(crate) trait Witness {
    /// Takes a sight, or leaves it unmade.
    fn saw<'s>(&self, sight: impl FnOnce() -> Sight<'s>);
}

/// Does not look.
pub(crate) struct Nobody;

impl Witness for Nobody {
    #[inline(always)]
    fn saw<'s>(&self, _: impl FnOnce() -> Sight<'s>) {}
}

/// One thing that a decision looked at.
#[derive(Clone, Copy)]
pub(crate) enum Sight<'s> {
    /// The issuer that the token is bound to (D2).
    Issuer(&'s Issuer),
    /// How old what is known is: the log, and the sources of the tenant (F2).
    Ages { log: Duration, tenant: Option<(Number, &'s Tenant)> },
    /// What the tenant decided, and whether the token is in CAE's scope (P1); `None`: the tenant has no
    /// directory.
    Scope(Option<ScopeSight>),
    /// What follows is evaluated for the report alone.
    Report,
    /// The policies, before the rules that read them (P3).
    Policies { subject: &'s Subject<'s>, counting: Counting, survey: &'s Survey },
    /// A cutoff of this scope, and whether the token was issued before it (D3).
    Cutoff { scope: ScopeName, cutoff: Cutoff, reaches: bool },
    /// The same of a level of risk (E5).
    Risk { level: RiskLevel, cutoff: Cutoff, reaches: bool },
    /// What sources say of the account, or of the device (D4).
    Object { tenant: &'s Tenant, number: Number, facet: Facet, object: ObjectKey },
    /// A policy that blocks, and the row of the table (D5).
    Block { policy: &'s Standing, row: BlockRow },
    /// A policy that demands more than at the sign-in (P7).
    DemandsMore { policy: &'s Standing, passes: bool },
    /// How old the sign-in may be, and since when it counts (D7).
    SignIn { frequency: Duration, since: UnixSeconds },
    /// When a policy last changed for the token (P8).
    Change { policy: &'s Standing, changed: UnixMillis, counts: bool },
    /// How long the token is honoured, the skew included, and why (D8).
    Lifetime { permitted: Duration, scope: Known, is_plain: bool },
}

/// P1 for one token.
#[derive(Clone, Copy)]
pub(crate) struct ScopeSight {
    pub(crate) mode: Mode,
    pub(crate) scope: Known,
    /// Only ages count.
    pub(crate) is_limited: bool,
    /// Nothing but ages is enforced.
    pub(crate) is_reported: bool,
}
