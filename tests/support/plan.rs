//! How a laboratory is to be: builds the config file and starts lbd.

use std::{collections::BTreeMap, path::Path};

use super::{Lab, Outcome, lab::daemon};

/// A laboratory that is not running yet. Its only service is `app`, unless more is configured.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    admin: String,
    runtime: String,
    listener: String,
    app: String,
    pools: Vec<(String, String, u8)>,
    links: BTreeMap<String, String>,
    rest: String,
}

impl Plan {
    /// Lines for `[admin]`.
    pub fn admin(mut self, lines: &str) -> Self {
        self.admin += &format!("{lines}\n");
        self
    }

    /// Lines for `[runtime]`.
    pub fn runtime(mut self, lines: &str) -> Self {
        self.runtime += &format!("{lines}\n");
        self
    }

    /// Lines for `[listener.http]`.
    pub fn listener(mut self, lines: &str) -> Self {
        self.listener += &format!("{lines}\n");
        self
    }

    /// Lines for `[service.app]`, in place of `user_id = ["header:X-User-Id"]`.
    pub fn app(mut self, lines: &str) -> Self {
        self.app += &format!("{lines}\n");
        self
    }

    /// A pool of `app` with one endpoint. The first pool has all traffic.
    pub fn pool(self, name: &str, endpoint: impl ToString) -> Self {
        self.pool_of(name, &[endpoint.to_string().as_str()])
    }

    /// A pool of `app` with several endpoints.
    pub fn pool_of(mut self, name: &str, endpoints: &[&str]) -> Self {
        let list = endpoints.iter().map(|e| format!("\"{e}\"")).collect::<Vec<_>>().join(", ");
        let weight = if self.pools.is_empty() { 100 } else { 0 };
        self.pools.push((name.into(), format!("[{list}]"), weight));
        self
    }

    /// A pool of `app` whose endpoints are written in TOML.
    pub fn pool_toml(mut self, name: &str, endpoints: &str) -> Self {
        let weight = if self.pools.is_empty() { 100 } else { 0 };
        self.pools.push((name.into(), endpoints.into(), weight));
        self
    }

    /// Lines for a pool of `app`.
    pub fn link(mut self, name: &str, lines: &str) -> Self {
        *self.links.entry(name.into()).or_default() += &format!("{lines}\n");
        self
    }

    /// The weight that the file gives to a pool; the first pool has the rest.
    pub fn weight(mut self, name: &str, percent: u8) -> Self {
        for pool in &mut self.pools {
            if pool.0 == name {
                pool.2 = percent;
            }
        }
        let others: u8 = self.pools[1..].iter().map(|pool| pool.2).sum();
        self.pools[0].2 = 100 - others;
        self
    }

    /// More of the file, with sections of its own.
    pub fn config(mut self, text: &str) -> Self {
        self.rest += &format!("{text}\n");
        self
    }

    /// The config file's text for a laboratory in `folder`.
    pub fn text(&self, folder: &Path) -> String {
        let Self { admin, runtime, listener, app, pools, links, rest } = self;
        let folder = folder.display();
        let mut text = format!(
            "[admin]\nsocket = \"{folder}/admin.sock\"\nstate_dir = \"{folder}/state\"\n{admin}\n\
             [runtime]\n{runtime}\n"
        );
        if !runtime.contains("workers") {
            text += "workers = 2\n";
        }
        // How all tests are run on the full path alone.
        if !runtime.contains("fast_path") && std::env::var_os("LBD_TEST_FULL_PATH").is_some() {
            text += "fast_path = false\n";
        }
        text += "[listener.http]\n";
        if !listener.contains("address") {
            text += "address = \"127.0.0.1:0\"\n";
        }
        text += &format!("{listener}\n");
        if let Some((first, ..)) = pools.first() {
            let ladder = "user_id = [\"header:X-User-Id\"]\n";
            let app = if app.is_empty() { ladder } else { app };
            text += &format!("[service.app]\nbaseline = \"{first}\"\n{app}\n");
        }
        for (name, endpoints, weight) in pools {
            let link = links.get(name).map(String::as_str).unwrap_or_default();
            text += &format!(
                "[service.app.pool.{name}]\nendpoints = {endpoints}\nweight = \"{weight}%\"\n\
                 {link}\n"
            );
        }
        text + rest
    }

    /// Starts lbd, and waits until it serves.
    pub fn start(self) -> Lab {
        Lab::start(self)
    }

    /// Starts lbd in `folder`, which must end by itself, and says how it did.
    pub fn ends(self, folder: &Path) -> Outcome {
        let config = folder.join("lbd.toml");
        std::fs::write(&config, self.text(folder)).unwrap();
        Outcome::of(&mut daemon(&config), folder)
    }
}
