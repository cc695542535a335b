//! The Oncekey that a command speaks to.

use clap::Args;
use oncekey_client::Client;

use super::failure::Failure;
use crate::stack::ENVIRONMENTS;

#[derive(Args)]
pub(crate) struct Remote {
    /// Oncekey's URL
    #[arg(long, env = "TRIGGER_API_URL", default_value = "http://127.0.0.1:3030", hide_env_values = true)]
    url: String,
    /// An API key; on this machine the one of local/dev unless given
    #[arg(long, env = "TRIGGER_SECRET_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Remote {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let key = match &self.api_key {
            Some(key) => key,
            None if self.is_local() => ENVIRONMENTS[0].1,
            None => return Err(Failure::Usage(format!("{} needs an API key: set TRIGGER_SECRET_KEY", self.url))),
        };
        Ok(Client::new(&self.url, key)?)
    }

    fn is_local(&self) -> bool {
        let host = self.url.split("://").nth(1).unwrap_or_default();
        ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .any(|local| host.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
    }
}
