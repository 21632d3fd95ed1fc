//! The status page in a real browser: whole without scripts, live with them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use process::{ANY_PORTS, Sidecar, Site, ask, publish, revoked};
use serde_json::json;

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
        ];
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let scripts = if has_scripts { 1 } else { 2 };
        let options = json!({
            "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
        });
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let builder = builder.capabilities(capabilities);
        builder.connect(&format!("http://127.0.0.1:{}", self.port)).await.expect("a window")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a reader sees.
async fn text(page: &Client) -> String {
    page.find(Locator::Css("body")).await.expect("a body").text().await.expect("text")
}

/// Waits until the page shows something; it is never loaded again for that.
async fn shows(page: &Client, what: &str) -> String {
    let begun = Instant::now();
    loop {
        let text = text(page).await;
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
