//! Authorities that live for one test, and certificates of theirs.

use caed_sidecar::client::ClientTls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};

use crate::process::{Site, replace};

/// One who issues certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// To be known as a server.
    Server,
    /// To be known as a client.
    Client,
    /// The same, until the year 2001.
    ExpiredClient,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with these names: addresses, DNS names, or URIs.
    pub(crate) fn issue(&self, names: &[&str], used: Use) -> Held {
        let (uris, others): (Vec<&str>, _) = names.iter().partition(|name| name.contains("://"));
        let others: Vec<String> = others.into_iter().map(ToOwned::to_owned).collect();
        let mut params = CertificateParams::new(others).expect("names");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().expect("ASCII")));
        }
        params.extended_key_usages = vec![match used {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client | Use::ExpiredClient => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if let Use::ExpiredClient = used {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Held {
            certificate: certificate.pem(),
            der: certificate.der().to_vec(),
            key: key.serialize_pem(),
        }
    }

    /// The certificate of a sidecar.
    pub(crate) fn server(&self) -> Held {
        self.issue(&["localhost", "127.0.0.1"], Use::Server)
    }
}

impl Held {
    /// Puts both files there, each at once, as those who renew certificates do.
    pub(crate) fn store(&self, site: &Site, name: &str) {
        replace(&site.path(&format!("{name}.crt")), &self.certificate);
        replace(&site.path(&format!("{name}.key")), &self.key);
    }
}

/// What a client believes and shows, from files with these names.
pub(crate) fn files(site: &Site, ca: &str, held: Option<&str>) -> ClientTls {
    let path = |extension| held.map(|name| site.path(&format!("{name}.{extension}")));
    ClientTls { ca: Some(site.path(ca)), certificate: path("crt"), key: path("key") }
}
