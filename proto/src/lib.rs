//! The messages and services of `caed.v1`, and what is read of Envoy's, generated from the `.proto` files beside
//! this crate.
//!
//! Every message of `caed.v1` also has its proto3 JSON form (`serde`), in which an unknown member is an error.

/// Version 1.
pub mod v1 {
    #![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("caed.v1");
    include!(concat!(env!("OUT_DIR"), "/caed.v1.serde.rs"));
}

/// Envoy's external authorization, version 3: as much of it as is read and written here. The crate that has all of
/// it (`envoy-types`) compiles 230,000 lines, and refuses a whole request for a path that is no UTF-8.
pub mod ext_authz {
    #![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("envoy.service.auth.v3");
}

/// The interface as a serialized `FileDescriptorSet`, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/caed.v1.descriptors"));
