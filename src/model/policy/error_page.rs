//! Pages of a service's own for errors that lbd answers itself.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::{Serialize, Serializer};

/// The statuses that lbd itself answers with once it knows the service. Sorted.
pub const STATUSES: [u16; 11] = [400, 401, 403, 408, 413, 414, 429, 500, 502, 503, 504];

/// Pages by status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorPages(pub BTreeMap<u16, ErrorPage>);

/// A page.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorPage {
    /// Where it is.
    pub file: PathBuf,
    /// Its HTML, read with the config.
    pub html: Arc<str>,
}

impl ErrorPages {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The HTML for a status, if there is a page for it.
    pub fn html(&self, status: u16) -> Option<Arc<str>> {
        self.0.get(&status).map(|page| page.html.clone())
    }
}

impl Serialize for ErrorPages {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(status, page)| (status.to_string(), &page.file)))
    }
}
