//! The messages and services of `caed.v1`, generated from the `.proto` files beside this crate.
//!
//! Every message also has its proto3 JSON form (`serde`), in which an unknown member is an error.

/// Version 1.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("caed.v1");
    include!(concat!(env!("OUT_DIR"), "/caed.v1.serde.rs"));
}

/// The interface as a serialized `FileDescriptorSet`, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/caed.v1.descriptors"));
