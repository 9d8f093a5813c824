//! What each command makes of the state. One file per noun.

mod cohort;
mod endpoint;
mod guard;
mod maintenance;
mod pause;
mod rollout;
mod split;

#[cfg(test)]
mod tests;
