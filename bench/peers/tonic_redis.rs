//! tonic and Redis: what most write who want to revoke tokens. Redis holds a cutoff for each revoked user, until no
//! token from before it can be valid.
//!
//! | | documented | expert |
//! |---|---|---|
//! | Redis | as it comes: nothing is on disk when a write is acknowledged | an acknowledged write is on disk, as with caed |
//! | reached over | TCP | a Unix socket |
//! | the service | `redis/documented.rs` | `redis/expert.rs` |

use std::net::SocketAddr;
use std::path::Path;

use caed_bench::generator::Calls;
use caed_bench::visitors::{TENANT, Visitors};
use redis::aio::MultiplexedConnection;

use crate::caed;
use crate::contestant::{Asked, Contestant, Later, Question};
use crate::process::{self, Process};
use crate::way::Way;

/// Cutoffs that are written at once while Redis is loaded.
const AT_ONCE: usize = 10_000;

/// How long a cutoff is kept, in seconds: as long as caed does.
const KEPT_S: u64 = 30 * 3600;

/// Redis and the service.
pub(crate) struct TonicRedis {
    redis: Process,
    service: Process,
    address: SocketAddr,
    writer: MultiplexedConnection,
}

impl TonicRedis {
    /// Starts both.
    pub(crate) async fn start(way: Way, folder: &Path) -> Result<Self, String> {
        let program = process::obtained("redis")?;
        let folder_name = folder.to_string_lossy();
        let (mut redis, url) = match way {
            Way::Documented => {
                let address = process::free_address()?;
                let port = address.port().to_string();
                let arguments = ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder_name];
                let redis = Process::start(&program, &arguments, folder, "redis")?;
                (redis, format!("redis://{address}"))
            }
            Way::Expert => {
                let socket = folder.join("redis.sock");
                let socket = socket.to_string_lossy();
                let arguments = [
                    "--port",
                    "0",
                    "--unixsocket",
                    &socket,
                    "--dir",
                    &folder_name,
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                    "--appendfsync",
                    "always",
                    // It would write all of it anew right after it was loaded, while it is asked.
                    "--auto-aof-rewrite-percentage",
                    "0",
                ];
                let redis = Process::start(&program, &arguments, folder, "redis")?;
                (redis, format!("redis+unix://{socket}"))
            }
        };
        redis.told(|logged| logged.contains("eady to accept connections").then_some(()))?;
        let client = redis::Client::open(url.as_str()).map_err(told)?;
        // Thousands of cutoffs at once take longer than an answer usually may.
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let writer = client.get_multiplexed_async_connection_with_config(&patient).await;
        let writer = writer.map_err(told)?;
        let program = Path::new(match way {
            Way::Documented => env!("CARGO_BIN_EXE_caed-peer-redis-documented"),
            Way::Expert => env!("CARGO_BIN_EXE_caed-peer-redis-expert"),
        });
        let mut service = Process::start(program, &[&url], folder, "service")?;
        let address = service.told(|logged| logged.lines().next()?.parse().ok())?;
        Ok(Self { redis, service, address, writer })
    }
}

impl Contestant for TonicRedis {
    fn pids(&self) -> Vec<u32> {
        vec![self.redis.pid(), self.service.pid()]
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn calls(&self, question: Question, asked: &[Asked]) -> Calls {
        caed::calls(question, asked)
    }

    fn load<'a>(&'a mut self, visitors: &'a Visitors) -> Later<'a, ()> {
        let cutoff = visitors.now_s - 1800;
        Box::pin(async move {
            let users: Vec<String> = visitors.revoked_users().collect();
            for users in users.chunks(AT_ONCE) {
                let mut pipe = redis::pipe();
                for user in users {
                    pipe.set_ex(key(user), cutoff, KEPT_S).ignore();
                }
                pipe.exec_async(&mut self.writer).await.map_err(told)?;
            }
            Ok(())
        })
    }

    fn revoke<'a>(&'a mut self, user: &'a str) -> Later<'a, ()> {
        Box::pin(async move {
            let mut set = redis::cmd("SET");
            set.arg(key(user)).arg(Visitors::new(0, 0).now_s).arg("EX").arg(KEPT_S);
            set.exec_async(&mut self.writer).await.map_err(told)
        })
    }
}

fn key(user: &str) -> String {
    format!("revoked:{TENANT}:{user}")
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
