//! The sandbox's own authority, and the certificate of this host.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

/// An authority that lives as long as the sandbox, and what it issued.
pub struct Certificates {
    /// The authority's own certificate, in PEM.
    pub authority: String,
    /// The certificate of `localhost` and `127.0.0.1`, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
}

impl Certificates {
    /// Makes all of it anew.
    ///
    /// # Errors
    ///
    /// Where no key can be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "caed sandbox");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?.pem();
        Ok(Self { authority: authority.pem(), certificate, key: key.serialize_pem() })
    }
}
