//! The pages of the admin listener in a real browser: whole without scripts, live with them.
//!
//! With `CAED_SCREENSHOTS=<folder>` the pages are also saved as pictures, to be looked at.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use process::{ANY_PORTS, Sidecar, Site, TENANT, ask, event, now_ms, publish, revoked};
use serde_json::{Value, json};
use tonic::codegen::http::Method;
use url::{ParseError, Url};

/// How long the page may take to show something.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser's driver, which ends its browsers with itself.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    fn start() -> Self {
        let mut command = Command::new("chromedriver");
        let command = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("chromedriver; `make tools` says how to get it");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.find_map(|line| {
            let line = line.expect("UTF-8");
            line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok()
        });
        // What it says later must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port: port.expect("a port") }
    }

    /// A window of its own, with or without scripts.
    async fn window(&self, folder: &Path, has_scripts: bool) -> Client {
        let profile = folder.join(format!("browser-{has_scripts}"));
        // As root, which containers often are, the browser's own sandbox can't be.
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--no-first-run".to_owned(),
            "--window-size=1200,1400".to_owned(),
            "--hide-scrollbars".to_owned(),
        ];
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let scripts = if has_scripts { 1 } else { 2 };
        let options = json!({
            "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        });
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let builder = builder.capabilities(capabilities);
        builder.connect(&format!("http://127.0.0.1:{}", self.port)).await.expect("a window")
    }
}

impl Drop for Driver {
    /// Asked to end, it closes its windows first; killed, it would leave the browsers of a test that failed.
    fn drop(&mut self) {
        let end = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET /shutdown HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", self.port)?;
            // It answers, and closes the connection as it ends.
            std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
        };
        let _ = end();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that the standard leaves to each browser.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// What the browser complained of since it was asked last. That a form was answered with a status of 400,
/// which tells that a field is wrong, is meant so.
async fn complaints(page: &Client) -> Vec<String> {
    let own = Own { path: "se/log", body: json!({ "type": "browser" }) };
    let entries = page.issue_cmd(own).await.expect("a log");
    let entries = entries.as_array().expect("a list").iter();
    let messages = entries.map(|entry| entry["message"].as_str().expect("a message").to_owned());
    messages.filter(|message| !message.contains("400 (Bad Request)")).collect()
}

/// Shows the page to somebody whose device prefers light or dark.
async fn prefers(page: &Client, scheme: &str) {
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    let params = json!({ "features": features });
    let body = json!({ "cmd": "Emulation.setEmulatedMedia", "params": params });
    page.issue_cmd(Own { path: "goog/cdp/execute", body }).await.expect("emulated");
}

/// A screen of this width.
async fn wide(page: &Client, width: u32) {
    let params = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    let body = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": params });
    page.issue_cmd(Own { path: "goog/cdp/execute", body }).await.expect("emulated");
}

/// How far the page is wider than its window; nothing, where nobody has to scroll sideways.
async fn overhang(page: &Client) -> i64 {
    let script = "const all = document.documentElement; return all.scrollWidth - all.clientWidth";
    page.execute(script, Vec::new()).await.expect("run").as_i64().expect("a number")
}

/// Saves a picture of the whole page, where somebody wants one.
async fn picture(page: &Client, name: &str) {
    let Some(folder) = std::env::var_os("CAED_SCREENSHOTS") else { return };
    let params = json!({ "captureBeyondViewport": true });
    let body = json!({ "cmd": "Page.captureScreenshot", "params": params });
    let shot = page.issue_cmd(Own { path: "goog/cdp/execute", body }).await.expect("a picture");
    let data = shot["data"].as_str().expect("base64");
    let bytes = BASE64_STANDARD.decode(data).expect("base64");
    std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).expect("written");
}

/// Types into a field in place of what is there.
async fn type_in(page: &Client, field: &str, text: &str) {
    let field = page.find(Locator::Id(field)).await.expect(field);
    field.clear().await.expect("cleared");
    field.send_keys(text).await.expect("typed");
}

/// Clicks on the first of these.
async fn click(page: &Client, css: &str) {
    page.find(Locator::Css(css)).await.expect(css).click().await.expect("clicked");
}

/// What a reader sees. `None`: the page gives way to the next one.
async fn text(page: &Client) -> Option<String> {
    let read = async { page.find(Locator::Css("body")).await?.text().await };
    match read.await {
        Ok(text) => Some(text),
        Err(error) if error.is_stale_element_reference() || error.is_no_such_element() => None,
        // The same in Chromium's own words, when it happens between two of its steps.
        Err(error) if error.to_string().contains("does not belong to the document") => None,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until the page shows something; it is never loaded again for that.
async fn shows(page: &Client, what: &str) -> String {
    let begun = Instant::now();
    loop {
        let text = text(page).await.unwrap_or_default();
        if text.contains(what) {
            return text;
        }
        assert!(begun.elapsed() < PATIENCE, "`{what}` is not in:\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_status_page_is_whole_without_scripts_and_live_with_them() {
    let site = Site::new();
    let config = site.config("caed.toml", ANY_PORTS, "");
    let sidecar = Sidecar::start(&config);
    let channel = sidecar.connect().await;
    let mut events = EventPublisherClient::new(channel.clone());
    let mut decisions = AccessEvaluationClient::new(channel);
    let driver = Driver::start();
    let url = format!("http://{}/", sidecar.admin());

    let live = driver.window(site.path("").as_path(), true).await;
    live.goto(&url).await.expect("loaded");
    let text = shows(&live, "Deciding by what is known now").await;
    assert!(text.contains("None yet."), "{text}");

    let revocation = publish(vec![revoked("anna")], v1::Wait::Applied);
    events.publish(revocation).await.expect("published");
    decisions.evaluate(ask("anna")).await.expect("answered");
    shows(&live, "sessions revoked").await;
    let text = shows(&live, "challenge revoked 1").await;
    assert!(text.contains("contoso") && !text.contains("anna"), "nobody is named:\n{text}");

    // A source that is declared, and says that it is halted.
    let declared = event(Fact::SourceDeclared(v1::SourceDeclared {
        name: "directory".to_owned(),
        declared: true,
        ..Default::default()
    }));
    let state = v1::StreamState::Disabled.into();
    let halted = event(Fact::Heartbeat(v1::Heartbeat { partition: 0, state }));
    events.publish(publish(vec![declared, halted], v1::Wait::Applied)).await.expect("published");
    shows(&live, "directory stale contoso").await;

    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light")] {
        wide(&live, width).await;
        prefers(&live, scheme).await;
        assert_eq!(overhang(&live).await, 0, "at {width}");
        picture(&live, &format!("status-{width}-{scheme}")).await;
    }
    assert_eq!(complaints(&live).await, Vec::<String>::new());

    let plain = driver.window(site.path("").as_path(), false).await;
    plain.goto(&url).await.expect("loaded");
    let text = shows(&plain, "sessions revoked").await;
    assert!(text.contains("challenge revoked 1") && text.contains("Deciding by"), "{text}");

    // Where nobody answers any more, the page says so instead of showing what once was.
    sidecar.kill();
    let text = shows(&live, "Nobody has answered since").await;
    assert!(text.contains("challenge revoked 1"), "{text}");

    for window in [live, plain] {
        window.close().await.expect("closed");
    }
}

/// An id as long as ids may be.
fn longest(letter: char) -> String {
    std::iter::repeat_n(letter, 512).collect()
}

#[tokio::test]
async fn the_explain_form_tells_why_and_what_would_change_it() {
    let site = Site::new();
    let config = site.config("caed.toml", ANY_PORTS, "");
    let sidecar = Sidecar::start(&config);
    let mut events = EventPublisherClient::new(sidecar.connect().await);
    let revocation = publish(vec![revoked("anna")], v1::Wait::Applied);
    events.publish(revocation).await.expect("published");
    let driver = Driver::start();
    let url = format!("http://{}/", sidecar.admin());
    let issued = (now_ms() / 1000 - 600).to_string();

    for has_scripts in [true, false] {
        let page = driver.window(site.path("").as_path(), has_scripts).await;
        wide(&page, 1280).await;
        page.goto(&url).await.expect("loaded");
        click(&page, "a[href=explain]").await;
        shows(&page, "Why is a token answered as it is?").await;
        let ways = page.find_all(Locator::Css("script")).await.expect("looked for");
        assert!(ways.is_empty(), "it has no script");
        picture(&page, &format!("blank-{has_scripts}")).await;

        // What is missing is told beside each field, and nothing typed is lost.
        type_in(&page, "user", "anna").await;
        click(&page, "button").await;
        let text = shows(&page, "Some fields need another look").await;
        assert!(text.contains("Tenant is missing; give the token's `tid`."), "{text}");
        assert!(text.contains("Issued is missing; give the token's `iat`"), "{text}");
        let beside = page.find(Locator::Id("tenant-hint")).await.expect("a hint");
        let beside = beside.text().await.expect("text");
        assert_eq!(beside, "is missing; give the token's `tid`.");
        let user = page.find(Locator::Id("user")).await.expect("a field");
        assert_eq!(user.prop("value").await.expect("asked").as_deref(), Some("anna"));
        picture(&page, &format!("faulty-{has_scripts}")).await;

        type_in(&page, "tenant", TENANT).await;
        type_in(&page, "issued", &issued).await;
        type_in(&page, "address", "192.0.2.1").await;
        click(&page, "button").await;
        let text = shows(&page, "CHALLENGE HTTP 401").await;
        for told in [
            "revoked · scope user · since ",
            "insufficient_claims",
            "To be allowed it takes, all together\na new token, issued at ",
            "✗\nD3\nnothing revoked it\ncutoff of the user",
            "✓\nD1\nthe token is alive",
            "✓\nD10\nwhat the client is told",
            "the caller gave it",
        ] {
            assert!(text.contains(told), "`{told}` is not in:\n{text}");
        }
        let at = page.current_url().await.expect("asked").to_string();
        assert_eq!(
            at,
            format!("{url}explain#answer"),
            "an address tells nothing of what was asked"
        );
        picture(&page, &format!("challenge-{has_scripts}")).await;

        // What the remedy says, done.
        let later = (now_ms() / 1000 + 2).to_string();
        type_in(&page, "issued", &later).await;
        click(&page, "button").await;
        shows(&page, "ALLOW HTTP 200").await;
        assert_eq!(complaints(&page).await, Vec::<String>::new());
        page.close().await.expect("closed");
    }
}

#[tokio::test]
async fn whatever_is_pasted_is_shown_as_text_and_a_signed_token_not_at_all() {
    let site = Site::new();
    let sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, ""));
    let driver = Driver::start();
    let page = driver.window(site.path("").as_path(), true).await;
    wide(&page, 1280).await;
    page.goto(&format!("http://{}/explain", sidecar.admin())).await.expect("loaded");

    let hostile =
        "</textarea><script>document.title='taken'</script><img src=x onerror=alert(1)>\"'&";
    let claims = json!({
        "iss": hostile, "tid": longest('t'), "oid": hostile, "sid": longest('s'),
        "iat": now_ms() / 1000, "aud": "api://files",
    });
    click(&page, "details:last-of-type summary").await;
    type_in(&page, "claims", &claims.to_string()).await;
    click(&page, "button").await;
    let text = shows(&page, "DENY HTTP 403").await;
    assert!(text.contains("unknown_issuer"), "{text}");
    assert!(text.contains(&format!("issuer `{hostile}` configured for tenant `{}`", longest('t'))));
    let typed = page.find(Locator::Id("claims")).await.expect("a field");
    let typed = typed.prop("value").await.expect("asked");
    assert_eq!(typed, Some(claims.to_string()), "as it was pasted");
    assert_eq!(page.title().await.expect("asked"), "caed: explain an answer");
    assert!(page.find(Locator::Css("img")).await.is_err(), "nothing of it is markup");
    for (width, scheme) in
        [(1280, "light"), (1280, "dark"), (390, "dark"), (390, "light"), (320, "light")]
    {
        wide(&page, width).await;
        prefers(&page, scheme).await;
        assert_eq!(overhang(&page).await, 0, "at {width}");
        picture(&page, &format!("hostile-{width}-{scheme}")).await;
    }
    let paper = "return getComputedStyle(document.body).backgroundColor";
    let light = page.execute(paper, Vec::new()).await.expect("run");
    prefers(&page, "dark").await;
    assert_ne!(page.execute(paper, Vec::new()).await.expect("run"), light, "dark is dark");

    // The head and the claims of a real token; a signature makes it one that could be used.
    let signed = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl";
    type_in(&page, "claims", signed).await;
    click(&page, "button").await;
    let text = shows(&page, "One field needs another look").await;
    assert!(text.contains("held a signed token, which was dropped"), "{text}");
    assert!(!page.source().await.expect("asked").contains("c2lnbmF0dXJl"), "it is not shown again");
    wide(&page, 390).await;
    picture(&page, "signed-390-dark").await;
    assert_eq!(complaints(&page).await, Vec::<String>::new());
    page.close().await.expect("closed");
}
