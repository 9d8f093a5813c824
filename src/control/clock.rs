//! The only reader of the wall clock in control.

use std::time::SystemTime;

use crate::model::Moment;

/// Now, by the wall clock.
pub fn now() -> Moment {
    // A clock before 1970 reads as 1970.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
