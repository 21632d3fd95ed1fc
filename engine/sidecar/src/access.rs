//! Who may do what, by how a caller is known: that it is on this host, as which user it runs, or whose
//! certificate it has.
//!
//! What is not granted here is denied. Rights of several grants that one caller meets add up.

use std::collections::BTreeMap;

use caed_surfaces::rights::{Right, Rights};

/// Every grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// To whoever connects over TCP to a listener that is bound to loopback.
    pub loopback: Rights,
    /// To this process's own user and to root, over the Unix socket.
    pub own_user: Rights,
    /// To peers of the Unix socket, by their user.
    pub users: BTreeMap<u32, Rights>,
    /// To those who have a certificate, by a DNS name or a URI in it.
    pub certificates: BTreeMap<String, Rights>,
}

/// Who may do everything to this host may do everything that changes nothing else: claims are believed only
/// where somebody has said so (T2).
impl Default for Access {
    fn default() -> Self {
        let usual = Rights::of(&[Right::Decide, Right::Publish, Right::Administer]);
        Self { loopback: usual, own_user: usual, ..Self::none() }
    }
}

impl Access {
    /// Nobody may do anything.
    pub const fn none() -> Self {
        Self {
            loopback: Rights::NONE,
            own_user: Rights::NONE,
            users: BTreeMap::new(),
            certificates: BTreeMap::new(),
        }
    }

    /// What a peer of the Unix socket may do.
    pub(crate) fn of_user(&self, user: u32, own: u32) -> Rights {
        let granted = self.users.get(&user).copied().unwrap_or_default();
        if user == own || user == ROOT { granted.and(self.own_user) } else { granted }
    }

    /// Whether nobody but this process's own user and root may do anything over the Unix socket.
    pub(crate) fn is_private(&self, own: u32) -> bool {
        self.users.keys().all(|user| *user == own || *user == ROOT)
    }

    /// What the holder of a certificate with these names may do. A DNS name has no colon and a URI has one, so
    /// neither can pass for the other.
    pub(crate) fn of_certificate<'n>(
        &self,
        dns_names: impl Iterator<Item = &'n str>,
        uris: impl Iterator<Item = &'n str>,
    ) -> Rights {
        let uris = uris.filter(|uri| uri.contains(':'));
        let granted = dns_names.chain(uris).filter_map(|name| self.certificates.get(name));
        granted.fold(Rights::NONE, |rights, granted| rights.and(*granted))
    }
}

/// The user that can become any other.
const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: Rights = Rights::of(&[Right::Decide]);
    const TELL: Rights = Rights::of(&[Right::Publish]);

    #[test]
    fn without_grants_this_user_and_root_may_do_what_needs_no_belief() {
        let access = Access::default();
        for right in Right::ALL {
            let may = right != Right::Vouch;
            assert_eq!(access.loopback.may(right), may, "{right:?}");
            assert_eq!(access.of_user(1000, 1000).may(right), may, "{right:?}");
            assert_eq!(access.of_user(0, 1000).may(right), may, "{right:?}");
        }
        assert_eq!(access.of_user(1001, 1000), Rights::NONE);
        assert_eq!(access.of_certificate(["gateway"].into_iter(), [].into_iter()), Rights::NONE);
        assert!(access.is_private(1000));
    }

    #[test]
    fn users_may_what_they_were_granted() {
        let users = BTreeMap::from([(0, TELL), (1000, ASK)]);
        let access = Access { users, ..Access::none() };
        let rights = [0, 1000, 1001].map(|user| access.of_user(user, 1001));
        assert_eq!(rights, [TELL, ASK, Rights::NONE]);
        assert!(access.is_private(1000) && !access.is_private(1001));
    }

    #[test]
    fn names_of_a_certificate_add_up_and_are_of_one_kind() {
        let uri = "spiffe://internal/publisher";
        let certificates = BTreeMap::from([("gateway".to_owned(), ASK), (uri.to_owned(), TELL)]);
        let access = Access { certificates, ..Access::none() };
        let of = |dns: &[&str], uris: &[&str]| {
            access.of_certificate(dns.iter().copied(), uris.iter().copied())
        };
        assert_eq!(of(&["other", "gateway"], &[]), ASK);
        assert_eq!(of(&["gateway"], &[uri]), ASK.and(TELL));
        for stranger in ["", "GATEWAY", "gateway.", "*", "a.gateway", "spiffe://internal"] {
            assert_eq!(of(&[stranger], &[stranger]), Rights::NONE, "{stranger}");
        }
        assert_eq!(
            of(&[], &["gateway"]),
            Rights::NONE,
            "no URI, whatever the certificate calls it"
        );
    }
}
