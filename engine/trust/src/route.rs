//! What the route that a request takes demands of its token (T2), by the word of whoever asks.

use caed_core::ids::Name;
use caed_core::request::Texts;

/// What a route demands: a text that is empty demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The tenant that it is for.
    pub tenant: String,
    /// An audience that the token must name.
    pub audience: String,
}

/// Why a token is not for a route, whoever believes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotForRoute {
    /// Of another tenant.
    #[error("the token is of another tenant than its route is for")]
    Tenant,
    /// For nobody there.
    #[error("the token is not for the audience that its route demands")]
    Audience,
}

impl Route {
    /// Checks that a token of this tenant and with these audiences is for this route. A token that names no tenant is
    /// none (D1).
    pub fn check(&self, tenant: Option<&str>, audiences: Texts<'_>) -> Result<(), NotForRoute> {
        let is_of = |tenant| is_same_tenant(tenant, &self.tenant);
        if !self.tenant.is_empty() && !tenant.is_none_or(is_of) {
            return Err(NotForRoute::Tenant);
        }
        if !self.audience.is_empty() && !audiences.iter().any(|audience| audience == self.audience)
        {
            return Err(NotForRoute::Audience);
        }
        Ok(())
    }
}

/// Whether two texts name one tenant (T4).
fn is_same_tenant(one: &str, other: &str) -> bool {
    let name = |text| Name::parse(text).ok();
    one == other || name(one).is_some_and(|one| name(other) == Some(one))
}
