//! What each command makes of the state. One file per noun.

mod cohort;
mod endpoint;
mod maintenance;
mod split;

#[cfg(test)]
mod tests;
