//! `caed export`.

use std::process::ExitCode;

use caed_proto::v1;
use caed_proto::v1::export_reply::What;
use caed_proto::v1::operations_client::OperationsClient;
use clap::Args;

use super::{At, output};

#[derive(Args)]
pub(super) struct Export {
    /// The tenant.
    #[arg(long)]
    tenant: String,
    /// Who says so, when it is published again.
    #[arg(long, default_value = "caed-export")]
    source: String,
    #[command(flatten)]
    at: At,
}

impl Export {
    /// Prints an event a line, as `caed publish --file` takes it. What can't be told again is named beside
    /// them, and the command fails.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { tenant, source, at } = self;
        let mut operations = OperationsClient::new(at.connect().await?);
        let refused = |status| output::refusal(&status);
        let reply = operations.export(v1::ExportRequest { tenant, source }).await;
        let mut replies = reply.map_err(refused)?.into_inner();
        let mut left_out = 0usize;
        while let Some(v1::ExportReply { what }) = replies.message().await.map_err(refused)? {
            match what {
                Some(What::Event(event)) => output::line(serde_json::to_string(&event)?),
                Some(What::LeftOut(why)) => {
                    output::note(format!("left out: {why}"));
                    left_out += 1;
                }
                None => {}
            }
        }
        anyhow::ensure!(left_out == 0, "{left_out} are left out, as said above");
        Ok(ExitCode::SUCCESS)
    }
}
