//! Where requests come in, and who may do what: the sections `[listen]`, `[listen.tls]` and `[[access]]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use caed_surfaces::rights::{Right, Rights};

use super::reader::Section;
use crate::access::Access;

/// The listeners. At least one for gRPC.
#[derive(Clone, Debug)]
pub struct Listen {
    /// gRPC over TCP.
    pub grpc: Option<SocketAddr>,
    /// gRPC over a Unix socket.
    pub grpc_socket: Option<PathBuf>,
    /// Forward authorization over HTTP.
    pub http: Option<SocketAddr>,
    /// Probes and metrics.
    pub admin: Option<SocketAddr>,
    /// What TCP is encrypted with. Never absent where a listener is not on loopback.
    pub tls: Option<Tls>,
    /// Who may do what.
    pub access: Access,
}

/// What TCP is encrypted with: files in PEM, which may be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate of this host, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose certificates tell who a caller is.
    pub client_ca: Option<PathBuf>,
    /// How long a connection may last.
    pub connection_age: Duration,
}

/// How long a certificate that should count no more may count at the most, for who is connected. Guess: a
/// handshake an hour costs nothing.
const CONNECTION_AGE_DEFAULT: Duration = Duration::from_hours(1);

/// What one table of `[[access]]` is about.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Loopback,
    User(u32),
    Certificate(String),
}

/// Reads the sections.
pub(super) fn listen(root: &Section<'_>) -> Listen {
    let section = root.section("listen");
    let tls_section = section.section("tls");
    let tls = tls_section.is_present().then(|| tls(&tls_section));
    let address = |key| {
        let problem = "is not an address with a port, such as \"127.0.0.1:7431\"";
        let found = section.parsed(key, problem, |text| text.parse::<SocketAddr>().ok())?;
        if tls.is_none() && !found.value.ip().is_loopback() {
            let problem = format!(
                "`{}` is not on loopback; plaintext is served on loopback only, bind 127.0.0.1 or [::1], use grpc_socket, or configure [listen.tls]",
                found.value
            );
            section.reject(&found, problem);
        }
        Some(found.value)
    };
    let grpc = address("grpc");
    let http = address("http");
    let admin = address("admin");
    let grpc_socket = section.string("grpc_socket").map(|found| found.value.into());
    if !section.has("grpc") && grpc_socket.is_none() {
        section.missing("grpc", "give grpc, grpc_socket, or both");
    }
    if tls.is_some() && !["grpc", "http", "admin"].into_iter().any(|key| section.has(key)) {
        tls_section.fault("encrypts nothing: no listener is bound to an address");
    }
    section.finish();
    let mut listen = Listen { grpc, grpc_socket, http, admin, tls, access: Access::default() };
    let tables = root.sections("access");
    if root.has("access") {
        listen.access = access(&tables, &listen);
    }
    listen
}

fn tls(section: &Section<'_>) -> Tls {
    let file = |key| {
        let found = section.string(key);
        if !section.has(key) {
            section.missing(key, "name a file in PEM");
        }
        found.map(|found| PathBuf::from(found.value)).unwrap_or_default()
    };
    let (certificate, key) = (file("certificate"), file("key"));
    let client_ca = section.string("client_ca").map(|found| PathBuf::from(found.value));
    let age = section.duration("connection_age");
    if let Some(found) = age.as_ref().filter(|found| found.value.is_zero()) {
        section.reject(found, "must be at least \"1s\"");
    }
    section.finish();
    let connection_age = age.map_or(CONNECTION_AGE_DEFAULT, |found| found.value);
    Tls { certificate, key, client_ca, connection_age }
}

/// The grants: what the tables say, and nothing else.
fn access(tables: &[Section<'_>], listen: &Listen) -> Access {
    let mut grants = BTreeMap::new();
    for table in tables {
        let (whom, may) = (whom(table, listen), may(table));
        table.finish();
        if let Some(whom) = whom
            && grants.insert(whom, may).is_some()
        {
            table.fault(
                "is about the same callers as a table before; write it once, with all their rights",
            );
        }
    }
    let mut access = Access::none();
    for (whom, rights) in grants {
        match whom {
            Whom::Loopback => access.loopback = rights,
            Whom::User(user) => drop(access.users.insert(user, rights)),
            Whom::Certificate(name) => drop(access.certificates.insert(name, rights)),
        }
    }
    access
}

/// Whom a table is about. A grant that nobody can meet is a fault: somebody counts on it.
fn whom(table: &Section<'_>, listen: &Listen) -> Option<Whom> {
    let Listen { grpc, grpc_socket, http, admin, tls, access: _ } = listen;
    let loopback = table.boolean("loopback");
    let user = table.whole("uid");
    let certificate = table.string("certificate");
    let given = ["loopback", "uid", "certificate"].map(|key| table.has(key));
    if given.into_iter().filter(|given| *given).count() != 1 {
        table.fault("give one of `loopback = true`, `uid = 1000` and `certificate = \"gateway.internal\"`, and one alone");
        return None;
    }
    if let Some(found) = loopback {
        if !found.value {
            table.reject(&found, "is true or absent; who has no table may nothing");
        } else if !grpc.iter().chain(http).chain(admin).any(|address| address.ip().is_loopback()) {
            table.reject(&found, "counts nowhere: no listener is bound to loopback, and anywhere else only certificates tell who calls");
        }
        return Some(Whom::Loopback);
    }
    if let Some(found) = user {
        if grpc_socket.is_none() {
            table.reject(&found, "counts nowhere: only over a Unix socket is a caller's user known; give listen.grpc_socket");
        }
        return Some(Whom::User(found.value));
    }
    let found = certificate?;
    if tls.as_ref().is_none_or(|tls| tls.client_ca.is_none()) {
        table.reject(
            &found,
            "counts nowhere: give listen.tls.client_ca, whose certificates tell who calls",
        );
    }
    if found.value.is_empty() || found.value.contains(['*', ' ']) {
        table.reject(
            &found,
            "is the whole name of one caller, as its certificate has it: a DNS name, or a URI",
        );
    }
    Some(Whom::Certificate(found.value))
}

fn may(table: &Section<'_>) -> Rights {
    let known = Right::ALL.map(Right::name).join(", ");
    let Some(found) = table.strings("may") else {
        if !table.has("may") {
            table.missing("may", &format!("list some of {known}"));
        }
        return Rights::NONE;
    };
    if found.value.is_empty() {
        table.reject(&found, format!("is empty; list some of {known}, or leave out the table"));
    }
    let right = |name: &String| {
        let right = Right::parse(name);
        if right.is_none() {
            table.reject(&found, format!("`{name}` is no right; known are {known}"));
        }
        right
    };
    let rights: Vec<_> = found.value.iter().filter_map(right).collect();
    Rights::of(&rights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const REST: &str = "[log]\ndirectory = \"log\"\n[[issuers]]\nissuer = \"https://idp.example\"\ntenants = [\"contoso\"]\n";

    const TLS: &str = "[listen.tls]\ncertificate = \"a.crt\"\nkey = \"a.key\"\n";

    fn parse(text: &str) -> Result<Listen, Vec<String>> {
        let config = Config::parse(&format!("{text}{REST}"), &BTreeMap::new());
        let faults =
            |faults: crate::config::Faults| faults.faults.iter().map(ToString::to_string).collect();
        config.map(|config| config.listen).map_err(faults)
    }

    #[test]
    fn without_tables_the_defaults_count() {
        let listen = parse("[listen]\ngrpc = \"127.0.0.1:1\"\n").expect("valid");
        assert_eq!(listen.access, Access::default());
        assert_eq!(listen.tls, None);
        let text = format!("[listen]\ngrpc = \"0.0.0.0:1\"\n{TLS}");
        let listen = parse(&text).expect("off loopback with TLS");
        let tls = listen.tls.expect("TLS");
        assert_eq!((tls.client_ca, tls.connection_age), (None, Duration::from_hours(1)));
    }

    #[test]
    fn with_tables_only_they_count() {
        let text = format!(
            "[listen]\ngrpc = \"127.0.0.1:1\"\ngrpc_socket = \"caed.sock\"\n{TLS}client_ca = \"ca.crt\"\nconnection_age = \"5m\"\n\
             [[access]]\nuid = 1000\nmay = [\"decide\", \"vouch\"]\n\
             [[access]]\ncertificate = \"spiffe://internal/publisher\"\nmay = [\"publish\"]\n"
        );
        let listen = parse(&text).expect("valid");
        let expected = Access {
            users: BTreeMap::from([(1000, Rights::of(&[Right::Decide, Right::Vouch]))]),
            certificates: BTreeMap::from([(
                "spiffe://internal/publisher".to_owned(),
                Rights::of(&[Right::Publish]),
            )]),
            ..Access::none()
        };
        assert_eq!(listen.access, expected);
        assert_eq!(listen.tls.expect("TLS").connection_age, Duration::from_mins(5));
        let none = parse("access = []\n[listen]\ngrpc = \"127.0.0.1:1\"\n").expect("valid");
        assert_eq!(none.access, Access::none(), "a list without tables grants nothing");
    }

    #[test]
    fn every_fault_is_reported_with_its_line() {
        let text = "\
[listen]
grpc = \"127.0.0.1:1\"
admin = \"192.0.2.1:9464\"
[[access]]
may = [\"decide\"]
[[access]]
loopback = true
uid = 0
may = [\"decide\"]
[[access]]
loopback = false
may = [\"decide\"]
[[access]]
uid = -1
may = [\"decide\", \"Publish\"]
[[access]]
uid = 1000
may = [\"decide\"]
[[access]]
certificate = \"*.internal\"
may = []
[[access]]
loopback = true
my = [\"decide\"]
";
        let reports = parse(text).expect_err("faulty");
        let expected = [
            "line 3: listen.admin: `192.0.2.1:9464` is not on loopback",
            "line 4: access[0]: give one of",
            "line 6: access[1]: give one of",
            "line 11: access[2].loopback: is true or absent",
            "line 14: access[3].uid: must be a whole number",
            "line 15: access[3].may: `Publish` is no right; known are decide, vouch",
            "line 17: access[4].uid: counts nowhere: only over a Unix socket",
            "line 20: access[5].certificate: counts nowhere: give listen.tls.client_ca",
            "line 20: access[5].certificate: is the whole name of one caller",
            "line 21: access[5].may: is empty",
            "line 22: access[6]: is about the same callers",
            "line 22: access[6].may: is missing; list some of decide",
            "line 24: access[6].my: is not known; known here: loopback, uid, certificate, may",
        ];
        for (report, expected) in reports.iter().zip(expected) {
            assert!(report.starts_with(expected), "{expected}: {reports:#?}");
        }
        assert_eq!(reports.len(), expected.len(), "{reports:#?}");
    }

    #[test]
    fn faults_of_encryption_are_reported() {
        let text = format!(
            "[listen]\ngrpc = \"[::]:1\"\ngrpc_socket = \"caed.sock\"\n{TLS}connection_age = \"0s\"\nclient-ca = \"x\"\n[[access]]\nloopback = true\nmay = [\"decide\"]\n"
        );
        let expected = [
            "line 7: listen.tls.connection_age: must be at least",
            "line 8: listen.tls.client-ca: is not known",
            "line 10: access[0].loopback: counts nowhere: no listener is bound to loopback",
        ];
        let reports = parse(&text).expect_err("faulty");
        for (report, expected) in reports.iter().zip(expected) {
            assert!(report.starts_with(expected), "{expected}: {reports:#?}");
        }
        assert_eq!(reports.len(), expected.len(), "{reports:#?}");
        let text = "[listen]\ngrpc_socket = \"caed.sock\"\n[listen.tls]\ncertificate = \"a.crt\"\n";
        let reports = parse(text).expect_err("faulty");
        assert!(reports[0].starts_with("line 3: listen.tls: encrypts nothing"), "{reports:#?}");
        assert!(reports[1].starts_with("line 3: listen.tls.key: is missing"), "{reports:#?}");
    }
}
