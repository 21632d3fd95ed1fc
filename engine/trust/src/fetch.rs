//! Where an issuer's keys come from: a URL that is fetched, or a file that is looked at.
//!
//! One task for each issuer keeps its [`Keyring`]. A URL is fetched regularly, soon after a failure, and when a
//! token named a key that is not known; a file is looked at every other moment. Whatever goes wrong takes no
//! key away: the keys only get older.
//!
//! Keys are fetched over HTTPS, or from this very host. A redirect is not followed: who could redirect us could
//! give us keys. Proxies of the environment are not used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use tokio::time::{Instant, sleep, sleep_until};

use crate::keyring::{Keyring, Taken};
use crate::limits;

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A URL.
    Url(Url),
    /// A file.
    File(PathBuf),
}

/// Why a text is no place to get keys from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// Not a URL.
    #[error("is not a URL")]
    Url,
    /// Not over TLS, and not from this host.
    #[error(
        "would fetch keys without TLS, so that anybody on the way could replace them; use https"
    )]
    Plain,
    /// With a user or a password in it.
    #[error("holds a user or a password; an issuer's keys are public, so leave it out")]
    Secret,
    /// Nothing at all.
    #[error("is empty; give a URL or the path of a file")]
    Empty,
    /// With `{tenant}` in it.
    #[error("holds {{tenant}}, but is one place for the keys of all tenants")]
    Tenant,
}

/// Why keys can't be looked for at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file can't be read.
    #[error("reading `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file of keys is none.
    #[error("`{path}` can't be used: {problem}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The certificates can't be used.
    #[error("`{path}` holds no certificate in PEM form")]
    Certificates {
        /// The file.
        path: PathBuf,
    },
    /// TLS can't be set up.
    #[error("setting up TLS; are there certificates of authorities on this host?")]
    Tls(#[source] reqwest::Error),
}

/// Keeps one issuer's keys, for as long as it runs.
#[derive(Debug)]
pub struct Keeper {
    issuer: String,
    keys: Arc<Keyring>,
    place: Place,
    schedule: Schedule,
    /// What was said last: a fault is said once.
    said: Option<String>,
}

#[derive(Clone, Debug)]
enum Place {
    Url { client: Client, url: Url },
    File(PathBuf),
}

/// When to fetch next.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    /// Fetches that failed since one succeeded.
    failed: u32,
    /// From a seed: sidecars that start together don't fetch together.
    spread: u64,
}

impl Source {
    /// Reads a URL or the path of a file.
    pub fn parse(text: &str) -> Result<Self, InvalidSource> {
        let is_url = text.contains("://");
        if text.is_empty() {
            return Err(InvalidSource::Empty);
        }
        if text.contains("{tenant}") {
            return Err(InvalidSource::Tenant);
        }
        if !is_url {
            return Ok(Self::File(text.into()));
        }
        let url = Url::parse(text).map_err(|_| InvalidSource::Url)?;
        let is_allowed = match (url.scheme(), url.host_str()) {
            ("https", Some(_)) => true,
            ("http", Some(host)) => is_this_host(host),
            _ => return Err(InvalidSource::Url),
        };
        if !is_allowed {
            return Err(InvalidSource::Plain);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidSource::Secret);
        }
        Ok(Self::Url(url))
    }
}

/// Whether a URL's host is this very host, whatever any name server says.
fn is_this_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Keeper {
    /// The keys of an issuer, and who keeps them. A file is read at once: who was told of one does not start
    /// without. The certificates in `authorities`, in PEM form, are trusted instead of this host's.
    pub fn open(
        issuer: &str,
        source: Source,
        authorities: Option<&Path>,
        max_age: Duration,
        seed: u64,
    ) -> Result<(Arc<Keyring>, Self), SetupError> {
        let (keys, place) = match source {
            Source::Url(url) => {
                let client = client(&url, authorities)?;
                (Keyring::asking(max_age), Place::Url { client, url })
            }
            Source::File(path) => {
                let keys = Keyring::watching(max_age);
                let read = read(&path);
                let bytes =
                    read.map_err(|source| SetupError::Read { path: path.clone(), source })?;
                if let Err(problem) = keys.look_ended(Ok(bytes)) {
                    return Err(SetupError::Keys { path, problem });
                }
                (keys, Place::File(path))
            }
        };
        let keys = Arc::new(keys);
        let (issuer, schedule) = (issuer.to_owned(), Schedule { failed: 0, spread: seed });
        Ok((Arc::clone(&keys), Self { issuer, keys, place, schedule, said: None }))
    }

    /// Keeps the keys. Never ends by itself.
    pub async fn run(mut self) {
        match self.place.clone() {
            Place::Url { client, url } => loop {
                self.keys.look_began();
                let ended = self.keys.look_ended(fetch(&client, url.clone()).await);
                let due = Instant::now() + self.schedule.after(ended.is_ok());
                self.tell(ended);
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.keys.asked() => {}
                }
            },
            Place::File(path) => loop {
                sleep(limits::KEYS_FILE_INTERVAL).await;
                let path = path.clone();
                let read = match tokio::task::spawn_blocking(move || read(&path)).await {
                    Ok(read) => read.map_err(|error| error.to_string()),
                    Err(_) => Err("reading the file failed".to_owned()),
                };
                let ended = self.keys.look_ended(read);
                self.tell(ended);
            },
        }
    }

    fn tell(&mut self, ended: Result<Taken, String>) {
        let issuer = &self.issuer;
        match ended {
            Ok(taken) => {
                if taken == Taken::Anew || self.said.is_some() {
                    let keys = self.keys.report().keys;
                    tracing::info!(issuer, keys, "the keys of an issuer are read");
                }
                self.said = None;
            }
            Err(fault) => {
                if self.said.as_ref() != Some(&fault) {
                    tracing::error!(
                        issuer,
                        fault,
                        "the keys of an issuer could not be read; those before count until they are too old"
                    );
                }
                self.said = Some(fault);
            }
        }
    }
}

impl Schedule {
    /// How long to wait after a fetch.
    fn after(&mut self, is_ok: bool) -> Duration {
        let (first, most) = (*limits::KEYS_RETRY.start(), *limits::KEYS_RETRY.end());
        let wait = if is_ok {
            self.failed = 0;
            limits::KEYS_INTERVAL
        } else {
            let doubled = 1_u32.checked_shl(self.failed).unwrap_or(u32::MAX);
            self.failed = self.failed.saturating_add(1);
            first.saturating_mul(doubled).min(most)
        };
        // Between nine tenths and eleven tenths of it.
        self.spread = self.spread.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let thousandths = u32::try_from(900 + (self.spread >> 33) % 201).unwrap_or(1000);
        wait * thousandths / 1000
    }
}

fn client(url: &Url, authorities: Option<&Path>) -> Result<Client, SetupError> {
    let mut client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .timeout(limits::KEYS_FETCH)
        .https_only(url.scheme() == "https")
        .user_agent(concat!("caed/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = authorities {
        let pem = std::fs::read(path)
            .map_err(|source| SetupError::Read { path: path.to_owned(), source })?;
        let certificates = Certificate::from_pem_bundle(&pem).ok();
        let certificates = certificates.filter(|all| !all.is_empty());
        let certificates =
            certificates.ok_or_else(|| SetupError::Certificates { path: path.to_owned() })?;
        client = client.tls_certs_only(certificates);
    }
    client.build().map_err(SetupError::Tls)
}

/// Fetches a body of a bounded size, in a bounded time.
async fn fetch(client: &Client, url: Url) -> Result<Vec<u8>, String> {
    let told = |error: reqwest::Error| chain(&error.without_url());
    let mut response = client.get(url).send().await.map_err(told)?;
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            return Err(format!(
                "it answers {}; give the place that it redirects to",
                status.as_u16()
            ));
        }
        status => return Err(format!("it answers {}", status.as_u16())),
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if body.len() + chunk.len() > limits::KEYS_BYTES_MAX {
            return Err(format!("it answers with more than {} bytes", limits::KEYS_BYTES_MAX));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error with what it comes from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        source = error.source();
    }
    told
}

/// Reads a file of a bounded size.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    // One more than is allowed, so that too many are told from just enough.
    let most = u64::try_from(limits::KEYS_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
