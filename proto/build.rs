//! Compiles `caed/v1/*.proto`, and what is read of Envoy's, in Rust: no `protoc` is needed on the building machine.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 7] = [
    "caed/v1/event.proto",
    "caed/v1/decision.proto",
    "caed/v1/explain.proto",
    "caed/v1/log.proto",
    "caed/v1/publish.proto",
    "caed/v1/status.proto",
    "caed/v1/tenant.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=caed");
    println!("cargo:rerun-if-changed=envoy");
    let descriptors = protox::compile(FILES, ["."])?;
    let bytes = descriptors.encode_to_vec();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // For server reflection and for the test that compares the interface with the committed one.
    fs::write(out.join("caed.v1.descriptors"), &bytes)?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    // proto3 JSON of every message. An unknown member is an error: a misspelt field of a
    // revocation must not be ignored.
    pbjson_build::Builder::new().register_descriptors(&bytes)?.build(&[".caed.v1"])?;
    // Apart: it is Envoy's interface, and no part of what we promise.
    let envoy = protox::compile(["envoy/external_auth.proto"], ["."])?;
    tonic_prost_build::configure().compile_fds(envoy)?;
    Ok(())
}
