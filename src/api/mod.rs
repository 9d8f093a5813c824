//! The admin API as one table: what the server dispatches on, the OpenAPI document lists, and the
//! client calls.

pub mod certificate;
mod openapi;
mod operation;
pub mod release;
mod table;
pub mod types;
pub mod upgrade;

pub use openapi::document;
pub use operation::{Op, Param, Role, Spec};
