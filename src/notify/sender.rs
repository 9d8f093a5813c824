//! Sends one notice once, in the receiver's form.

use super::{
    email::Email, failure::Failure, notice::Notice, pagerduty::Pagerduty, patience::Patience,
    slack::Slack, webhook::Webhook,
};
use crate::model::{notify::Channel, settings::Secret};

/// Sends to one receiver.
#[derive(Debug)]
pub struct Sender {
    form: Form,
    /// What must not be in any text that it returns.
    secrets: Vec<Secret>,
}

#[derive(Debug)]
enum Form {
    Webhook(Webhook),
    Slack(Slack),
    Pagerduty(Pagerduty),
    Email(Email),
}

impl Sender {
    /// A sender for a channel.
    pub fn new(channel: &Channel, patience: Patience) -> Self {
        let form = match channel {
            Channel::Webhook { url, secret, token } => {
                Form::Webhook(Webhook::new(url, secret.as_ref(), token.as_ref(), patience))
            }
            Channel::Slack { url } => Form::Slack(Slack::new(url, patience)),
            Channel::Pagerduty { routing_key, url } => {
                Form::Pagerduty(Pagerduty::new(routing_key, url, patience))
            }
            Channel::Email { server, from, to, username, password } => {
                let login = username.clone().zip(password.clone());
                Form::Email(Email {
                    server: server.clone(),
                    from: from.clone(),
                    to: to.clone(),
                    login,
                    patience,
                })
            }
        };
        Self { form, secrets: secrets(channel) }
    }

    /// Sends a notice. Takes no longer than one send may.
    ///
    /// # Errors
    ///
    /// What went wrong, without secrets.
    pub fn send(&self, notice: &Notice) -> Result<(), Failure> {
        let sent = match &self.form {
            Form::Webhook(webhook) => webhook.send(notice),
            Form::Slack(slack) => slack.send(notice),
            Form::Pagerduty(pagerduty) => pagerduty.send(notice),
            Form::Email(email) => email.send(notice),
        };
        sent.map_err(|failure| failure.masked(&self.secrets))
    }
}

/// The secrets of a channel; the longest first, where one is part of another.
fn secrets(channel: &Channel) -> Vec<Secret> {
    match channel {
        Channel::Webhook { secret, token, .. } => secret.iter().chain(token).cloned().collect(),
        Channel::Slack { url } => {
            // What follows the host is the secret, and errors may name it without the rest.
            let path = url.0.splitn(4, '/').nth(3).unwrap_or_default();
            vec![url.clone(), Secret(path.into())]
        }
        Channel::Pagerduty { routing_key, .. } => vec![routing_key.clone()],
        Channel::Email { password, .. } => password.iter().cloned().collect(),
    }
}
