//! The rows that state consists of: plain data, forty bytes for a revoked user.
//!
//! A cutoff's row also says until when it must be kept (E17), and a user's or device's row carries
//! [`Hint`]s: which other rows exist about it. One look-up for a user to whom nothing happened
//! therefore answers everything about that user.
//!
//! INVARIANT: a row that hints at others is kept at least as long as they are.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::consequence::{Facet, FinerKind};
use crate::event::RiskLevel;
use crate::ids::{Form, ObjectKey};
use crate::index::Row;
use crate::index::names::Number;
use crate::limits;
use crate::origin::Origin;
use crate::time::UnixMillis;

/// Stands for "no issuer" in rows whose ids no issuer numbers.
pub(crate) const NO_ISSUER: Number = Number::MAX;

/// What a cutoff row is about, within its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CutoffKind {
    User,
    RiskLow,
    RiskMedium,
    RiskHigh,
    Session,
    Token,
    Client,
    Device,
    UserWithoutSession,
    UserWithoutToken,
    UserWithoutClient,
    UserWithoutDevice,
}

/// Which other rows exist about a row's user or device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hint(u16);

/// A user's cutoff, and what other rows there are about the user. Most rows are of this kind, so nothing stands
/// in it that its table says already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct UserRow {
    bits: [u64; 2],
    /// The cutoff in milliseconds, above them the hints, above those the form of the id.
    at: u64,
    origin: Origin,
    tenant: Number,
    kept_s: u32,
}

/// Finds a [`UserRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserKey {
    pub(crate) tenant: Number,
    pub(crate) user: ObjectKey,
}

/// A cutoff of one session, token, client or device, or another one of a user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CutoffRow {
    bits: [u64; 2],
    at: UnixMillis,
    origin: Origin,
    tenant: Number,
    issuer: Number,
    /// See [`pack`]: a fuller instant would cost four more bytes.
    kept_s: u32,
    kind: CutoffKind,
    form: Form,
    pub(crate) hints: Hint,
}

/// Finds a [`CutoffRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutoffKey {
    pub(crate) tenant: Number,
    pub(crate) kind: CutoffKind,
    pub(crate) issuer: Number,
    pub(crate) id: ObjectKey,
}

/// A cutoff of one user's tokens that carry a finer id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PairRow {
    key: PairKey,
    at: UnixMillis,
    origin: Origin,
    kept_s: u32,
}

/// Finds a [`PairRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairKey {
    pub(crate) tenant: Number,
    pub(crate) kind: FinerKind,
    pub(crate) issuer: Number,
    pub(crate) user: ObjectKey,
    pub(crate) finer: ObjectKey,
}

/// What one source says of one object in one respect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RegisterRow {
    key: RegisterKey,
    pub(crate) source: Number,
    pub(crate) at: UnixMillis,
    pub(crate) standing: u8,
    /// When the newest record about it was appended: the janitor's margin counts from here (L3).
    pub(crate) appended: UnixMillis,
}

/// Finds a [`RegisterRow`]. An object's sources are numbered as they first speak of it, so all of
/// them are found by counting up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegisterKey {
    pub(crate) tenant: Number,
    pub(crate) facet: Facet,
    pub(crate) object: ObjectKey,
    pub(crate) index: u16,
}

/// A cutoff, wherever it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cutoff {
    /// Tokens issued before are revoked; [`UnixMillis::ZERO`] where there is none.
    pub(crate) at: UnixMillis,
    /// The later of the cutoff and the append time of its records.
    pub(crate) kept: UnixMillis,
    /// A record that says so.
    pub(crate) origin: Origin,
}

impl CutoffKind {
    pub(crate) const fn risk(level: RiskLevel) -> Self {
        match level {
            RiskLevel::Low => Self::RiskLow,
            RiskLevel::Medium => Self::RiskMedium,
            RiskLevel::High => Self::RiskHigh,
        }
    }

    pub(crate) const fn finer(kind: FinerKind) -> Self {
        match kind {
            FinerKind::Session => Self::Session,
            FinerKind::Token => Self::Token,
            FinerKind::Client => Self::Client,
            FinerKind::Device => Self::Device,
        }
    }

    pub(crate) const fn without(kind: FinerKind) -> Self {
        match kind {
            FinerKind::Session => Self::UserWithoutSession,
            FinerKind::Token => Self::UserWithoutToken,
            FinerKind::Client => Self::UserWithoutClient,
            FinerKind::Device => Self::UserWithoutDevice,
        }
    }

    /// The bit by which a tenant remembers that it has rows of this kind.
    pub(crate) const fn bit(self) -> u16 {
        1 << self as u8
    }

    /// The bits of what is finer than a user.
    pub(crate) const FINER: u16 =
        Self::Session.bit() | Self::Token.bit() | Self::Client.bit() | Self::Device.bit();
}

impl Hint {
    pub(crate) const NONE: Self = Self(0);

    /// The user's risk was found to be at a level.
    pub(crate) const fn risk(level: RiskLevel) -> Self {
        Self(1 << level as u8)
    }

    /// Something finer was revoked for this user.
    pub(crate) const fn pair(kind: FinerKind) -> Self {
        Self(1 << (3 + kind as u8))
    }

    /// Registers exist.
    pub(crate) const fn register(facet: Facet) -> Self {
        Self(1 << (7 + facet as u8))
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const ANY_REGISTER: Self = Self(0b111 << 7);

    /// How many bits there are.
    const BITS: u32 = 10;
    const ALL: u16 = (1 << Self::BITS) - 1;
}

impl Cutoff {
    /// The cutoff that a record sets.
    pub(crate) fn new(at: UnixMillis, appended: UnixMillis, origin: Origin) -> Self {
        Self { at, kept: at.max(appended), origin }
    }

    /// Both: the later of each instant, and of copies the record that was read first.
    pub(crate) fn join(self, other: Self) -> Self {
        let (at, origin) =
            if other.at > self.at { (other.at, other.origin) } else { (self.at, self.origin) };
        Self { at, kept: self.kept.max(other.kept), origin }
    }

    /// Whether every token that it could reject is dead by `now` (E17).
    pub(crate) fn is_expired(self, now: UnixMillis, horizon: Duration) -> bool {
        now > self.kept.saturating_add(horizon).saturating_add(limits::FORGET_MARGIN)
    }
}

/// Bits of [`UserRow::at`] for the instant: until the year 10,889, and no event is of a later one than 9999.
const AT_BITS: u32 = 48;

/// Bits of [`UserRow::at`] up to the end of the hints.
const FORM_SHIFT: u32 = AT_BITS + Hint::BITS;

impl UserRow {
    pub(crate) fn vacant(key: &UserKey) -> Self {
        let UserKey { tenant, user: ObjectKey { bits, form } } = *key;
        Self { bits, tenant, at: (form as u64) << FORM_SHIFT, ..Self::VACANT }
    }

    pub(crate) fn cutoff(&self) -> Cutoff {
        let at = UnixMillis::from_millis(self.at & LAST_AT);
        Cutoff { at, kept: unpack(self.kept_s), origin: self.origin }
    }

    pub(crate) const fn hints(&self) -> Hint {
        Hint((self.at >> AT_BITS) as u16 & Hint::ALL)
    }

    /// Raises the cutoff and adds hints.
    pub(crate) fn raise(&mut self, cutoff: Cutoff, hints: Hint) {
        let Cutoff { at, kept, origin } = self.cutoff().join(cutoff);
        let hints = u64::from(self.hints().and(hints).0);
        let form = self.at >> FORM_SHIFT << FORM_SHIFT;
        self.at = form | hints << AT_BITS | at.as_millis().min(LAST_AT);
        self.origin = origin;
        self.kept_s = pack(kept);
    }

    /// Whether the row can go: no answer changes without it, now or later.
    pub(crate) fn is_expired(&self, now: UnixMillis, horizon: Duration) -> bool {
        self.cutoff().is_expired(now, horizon) && !self.hints().has(Hint::ANY_REGISTER)
    }
}

/// The last instant that a [`UserRow`] can tell.
const LAST_AT: u64 = (1 << AT_BITS) - 1;

impl CutoffRow {
    pub(crate) fn vacant(key: &CutoffKey) -> Self {
        Self {
            bits: key.id.bits,
            form: key.id.form,
            tenant: key.tenant,
            issuer: key.issuer,
            kind: key.kind,
            ..Self::VACANT
        }
    }

    pub(crate) fn cutoff(&self) -> Cutoff {
        Cutoff { at: self.at, kept: unpack(self.kept_s), origin: self.origin }
    }

    /// Raises the cutoff and adds hints.
    pub(crate) fn raise(&mut self, cutoff: Cutoff, hints: Hint) {
        let Cutoff { at, kept, origin } = self.cutoff().join(cutoff);
        (self.at, self.origin) = (at, origin);
        self.kept_s = pack(kept);
        self.hints = self.hints.and(hints);
    }

    /// Whether the row can go: no answer changes without it, now or later.
    pub(crate) fn is_expired(&self, now: UnixMillis, horizon: Duration) -> bool {
        self.cutoff().is_expired(now, horizon) && !self.hints.has(Hint::ANY_REGISTER)
    }
}

impl PairRow {
    pub(crate) fn vacant(key: &PairKey) -> Self {
        Self { key: *key, ..Self::VACANT }
    }

    pub(crate) fn cutoff(&self) -> Cutoff {
        Cutoff { at: self.at, kept: unpack(self.kept_s), origin: self.origin }
    }

    /// Raises the cutoff.
    pub(crate) fn raise(&mut self, cutoff: Cutoff) {
        let Cutoff { at, kept, origin } = self.cutoff().join(cutoff);
        (self.at, self.origin) = (at, origin);
        self.kept_s = pack(kept);
    }
}

impl RegisterRow {
    pub(crate) fn new(key: &RegisterKey, source: Number) -> Self {
        Self { key: *key, source, ..Self::VACANT }
    }

    /// The later word wins, and of two of one instant the more restrictive (E15).
    pub(crate) fn join(&mut self, at: UnixMillis, standing: u8, appended: UnixMillis) {
        self.appended = self.appended.max(appended);
        (self.at, self.standing) = (self.at, self.standing).max((at, standing));
    }
}

/// A subject that a policy or a group named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SubjectRow {
    bits: [u64; 2],
    /// From 0 within the tenant.
    pub(crate) number: u32,
    /// When a single word about a membership of the subject was spoken last.
    pub(crate) moved: UnixMillis,
    tenant: Number,
    form: Form,
}

/// Finds a [`SubjectRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubjectKey {
    pub(crate) tenant: Number,
    pub(crate) subject: ObjectKey,
}

impl SubjectRow {
    pub(crate) const fn new(key: SubjectKey, number: u32) -> Self {
        let SubjectKey { tenant, subject: ObjectKey { bits, form } } = key;
        Self { bits, number, moved: UnixMillis::ZERO, tenant, form }
    }
}

impl Row for SubjectRow {
    type Key = SubjectKey;

    const VACANT: Self = Self::new(SubjectKey { tenant: 0, subject: NO_ID }, 0);

    #[inline]
    fn key(&self) -> SubjectKey {
        let subject = ObjectKey { bits: self.bits, form: self.form };
        SubjectKey { tenant: self.tenant, subject }
    }

    fn hash(key: &SubjectKey, seed: u64) -> u64 {
        let SubjectKey { tenant, subject } = *key;
        let [one, other] = subject.bits;
        hash([one, other, pair(tenant, subject.form as u32)], seed)
    }
}

const NO_ID: ObjectKey = ObjectKey { bits: [0; 2], form: Form::Guid };

impl Row for UserRow {
    type Key = UserKey;

    const VACANT: Self = Self {
        bits: NO_ID.bits,
        at: (NO_ID.form as u64) << FORM_SHIFT,
        origin: Origin::NONE,
        tenant: 0,
        kept_s: 0,
    };

    #[inline]
    fn key(&self) -> UserKey {
        let form = match self.at >> FORM_SHIFT {
            0 => Form::Guid,
            1 => Form::Inline,
            _ => Form::Digest,
        };
        UserKey { tenant: self.tenant, user: ObjectKey { bits: self.bits, form } }
    }

    #[inline]
    fn hash(key: &UserKey, seed: u64) -> u64 {
        let UserKey { tenant, user } = *key;
        let [one, other] = user.bits;
        hash([one, other, pair(tenant, user.form as u32)], seed)
    }
}

impl Row for CutoffRow {
    type Key = CutoffKey;

    const VACANT: Self = Self {
        bits: NO_ID.bits,
        at: UnixMillis::ZERO,
        origin: Origin::NONE,
        tenant: 0,
        issuer: NO_ISSUER,
        kept_s: 0,
        kind: CutoffKind::User,
        form: NO_ID.form,
        hints: Hint::NONE,
    };

    #[inline]
    fn key(&self) -> CutoffKey {
        let id = ObjectKey { bits: self.bits, form: self.form };
        CutoffKey { tenant: self.tenant, kind: self.kind, issuer: self.issuer, id }
    }

    #[inline]
    fn hash(key: &CutoffKey, seed: u64) -> u64 {
        let CutoffKey { tenant, kind, issuer, id } = *key;
        let [one, other] = id.bits;
        let forms = (kind as u32) << 2 | id.form as u32;
        hash([one, other, pair(tenant, issuer), u64::from(forms)], seed)
    }
}

impl Row for PairRow {
    type Key = PairKey;

    const VACANT: Self = Self {
        key: PairKey {
            tenant: 0,
            kind: FinerKind::Session,
            issuer: NO_ISSUER,
            user: NO_ID,
            finer: NO_ID,
        },
        at: UnixMillis::ZERO,
        origin: Origin::NONE,
        kept_s: 0,
    };

    fn key(&self) -> PairKey {
        self.key
    }

    fn hash(key: &PairKey, seed: u64) -> u64 {
        let PairKey { tenant, kind, issuer, user, finer } = *key;
        let [[one, other], [third, fourth]] = [user.bits, finer.bits];
        let forms = (kind as u32) << 4 | (user.form as u32) << 2 | finer.form as u32;
        hash([one, other, third, fourth, pair(tenant, issuer), u64::from(forms)], seed)
    }
}

impl Row for RegisterRow {
    type Key = RegisterKey;

    const VACANT: Self = Self {
        key: RegisterKey { tenant: 0, facet: Facet::Account, object: NO_ID, index: 0 },
        source: 0,
        at: UnixMillis::ZERO,
        standing: 0,
        appended: UnixMillis::ZERO,
    };

    fn key(&self) -> RegisterKey {
        self.key
    }

    fn hash(key: &RegisterKey, seed: u64) -> u64 {
        let RegisterKey { tenant, facet, object, index } = *key;
        let [one, other] = object.bits;
        let forms = (facet as u32) << 2 | object.form as u32;
        hash([one, other, pair(tenant, index.into()), u64::from(forms)], seed)
    }
}

/// One xxh3 over everything that a key consists of.
#[inline]
fn hash<const WORDS: usize>(words: [u64; WORDS], seed: u64) -> u64 {
    // Of a constant length, which xxh3 reads without branches.
    xxh3_64_with_seed(words.map(u64::to_le_bytes).as_flattened(), seed)
}

/// Two small numbers in a word.
const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// Whole seconds since 1970, rounded up, so that nothing is forgotten early, and the same whatever
/// the order of events. From 2106 on nothing is forgotten.
fn pack(kept: UnixMillis) -> u32 {
    u32::try_from(kept.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

const fn unpack(kept_s: u32) -> UnixMillis {
    UnixMillis::from_millis(if kept_s == u32::MAX { u64::MAX } else { kept_s as u64 * 1000 })
}

const _: () = assert!(size_of::<SubjectRow>() == 40, "nothing is padded");
const _: () = assert!(size_of::<UserRow>() == 40, "memory per revoked user is a promise");
const _: () =
    assert!(Form::Guid as u64 == 0 && Form::Inline as u64 == 1 && Form::Digest as u64 == 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Offset, Partition, Position};

    fn ms(millis: u64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    #[test]
    fn raising_never_lowers_and_never_forgets_earlier() {
        let origin = |offset| {
            let position = Position { partition: Partition::default(), offset: Offset(offset) };
            Origin::new("sessions_revoked", position)
        };
        let cutoff = |at, appended, record| Cutoff::new(ms(at), ms(appended), origin(record));
        let held = |at, kept, record| Cutoff { at: ms(at), kept: ms(kept), origin: origin(record) };
        let (mut user, mut row, mut pair) = (UserRow::VACANT, CutoffRow::VACANT, PairRow::VACANT);
        for (raised, expected) in [
            (cutoff(5_000, 9_500, 1), held(5_000, 10_000, 1)),
            (cutoff(4_000, 4_000, 2), held(5_000, 10_000, 1)),
            (cutoff(5_000, 5_000, 3), held(5_000, 10_000, 1)),
            (cutoff(6_001, 6_001, 4), held(6_001, 10_000, 4)),
        ] {
            user.raise(raised, Hint::NONE);
            row.raise(raised, Hint::NONE);
            pair.raise(raised);
            assert_eq!([user.cutoff(), row.cutoff(), pair.cutoff()], [expected; 3]);
        }
    }

    #[test]
    fn a_cutoff_expires_a_horizon_and_a_margin_after_both_of_its_times() {
        let horizon = Duration::from_secs(100);
        let cutoff = Cutoff::new(ms(1_000), ms(3_000), Origin::NONE);
        assert!(!cutoff.is_expired(ms(3_000 + 100_000 + 300_000), horizon));
        assert!(cutoff.is_expired(ms(3_001 + 100_000 + 300_000), horizon));
    }

    #[test]
    fn of_two_words_of_one_instant_the_more_restrictive_counts() {
        let mut row = RegisterRow::VACANT;
        let mut after = |at, standing, appended| {
            row.join(ms(at), standing, ms(appended));
            (row.at.as_millis(), row.standing, row.appended.as_millis())
        };
        assert_eq!(after(7, 1, 7), (7, 1, 7));
        assert_eq!(after(7, 0, 8), (7, 1, 8));
        assert_eq!(after(7, 2, 8), (7, 2, 8));
        assert_eq!(after(6, 3, 9), (7, 2, 9));
        assert_eq!(after(8, 0, 9), (8, 0, 9));
    }

    #[test]
    fn from_2106_on_nothing_is_forgotten() {
        let last = u64::from(u32::MAX) * 1000;
        assert_eq!(unpack(pack(ms(last - 1000))), ms(last - 1000));
        assert_eq!(unpack(pack(ms(last + 1))), ms(u64::MAX));
    }

    #[test]
    fn a_row_that_hints_at_registers_stays() {
        let (now, horizon) = (ms(u64::from(u32::MAX) * 500), Duration::from_secs(100));
        for (hint, goes) in [
            (Hint::NONE, true),
            (Hint::risk(RiskLevel::High), true),
            (Hint::pair(FinerKind::Device), true),
            (Hint::register(Facet::Account), false),
            (Hint::register(Facet::DeviceState), false),
            (Hint::register(Facet::DeviceCompliance), false),
        ] {
            let (mut row, mut user) = (CutoffRow::VACANT, UserRow::VACANT);
            row.raise(Cutoff::new(ms(1), ms(1), Origin::NONE), hint);
            user.raise(Cutoff::new(ms(1), ms(1), Origin::NONE), hint);
            for (now, goes) in [(now, goes), (ms(1), false)] {
                let expired = [row.is_expired(now, horizon), user.is_expired(now, horizon)];
                assert_eq!(expired, [goes; 2], "{hint:?}");
            }
        }
    }

    #[test]
    fn a_users_row_keeps_apart_what_it_packs() {
        let last = UnixMillis::from_wire(253_402_300_799_999).expect("the end of 9999").0;
        for form in [Form::Guid, Form::Inline, Form::Digest] {
            let key = UserKey { tenant: 3, user: ObjectKey { bits: [u64::MAX; 2], form } };
            let mut row = UserRow::vacant(&key);
            for hint in [Hint::risk(RiskLevel::Low), Hint::register(Facet::DeviceCompliance)] {
                row.raise(Cutoff::new(last, last, Origin::NONE), hint);
                assert!(row.hints().has(hint));
                assert_eq!((row.key(), row.cutoff().at), (key, last));
            }
            assert!(!row.hints().has(Hint::risk(RiskLevel::High)));
        }
    }

    #[test]
    fn every_part_of_a_key_moves_its_row() {
        let id = |one, two, form| ObjectKey { bits: [one, two], form };
        let mut places = Vec::new();
        let cutoff = |tenant, kind, issuer, id| CutoffKey { tenant, kind, issuer, id };
        for id in [id(1, 2, Form::Guid), id(2, 1, Form::Guid), id(1, 2, Form::Inline)] {
            for (tenant, issuer) in [(3, 4), (4, 3), (3, NO_ISSUER)] {
                for kind in [CutoffKind::Session, CutoffKind::Token] {
                    places.push(CutoffRow::hash(&cutoff(tenant, kind, issuer, id), 5));
                    places.push(CutoffRow::hash(&cutoff(tenant, kind, issuer, id), 6));
                }
            }
        }
        let (guid, text) = (id(1, 2, Form::Guid), id(1, 2, Form::Inline));
        for (user, finer) in [(guid, guid), (guid, text), (text, guid), (text, text)] {
            for kind in [FinerKind::Client, FinerKind::Device] {
                let key = PairKey { tenant: 3, kind, issuer: 4, user, finer };
                places.push(PairRow::hash(&key, 5));
            }
        }
        for facet in [Facet::DeviceState, Facet::DeviceCompliance] {
            for index in [0, 1, 257] {
                let key = RegisterKey { tenant: 7, facet, object: guid, index };
                places.push(RegisterRow::hash(&key, 5));
            }
        }
        for tenant in [8, 9] {
            places.push(SubjectRow::hash(&SubjectKey { tenant, subject: guid }, 5));
        }
        let all = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), all);
    }
}
