//! What handshakes are made with that lbd got or made by itself.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{tls::Certificate, units::ListenerName};

/// For each name that is being proved, the digest of what proves it.
pub type Proofs = BTreeMap<String, [u8; 32]>;

/// Certificates that were issued to lbd, and what proves names to those who issue them.
#[derive(Clone, Debug, Default)]
pub struct Automatic {
    /// By the listener that shows them.
    pub issued: BTreeMap<ListenerName, Arc<Certificate>>,
    /// Of the orders under way.
    pub proofs: Proofs,
}
