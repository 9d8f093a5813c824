//! A mail: what happened in the subject, all of it in the text.

use std::sync::Arc;

use lettre::{
    Message,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{authentication::Credentials, extension::ClientId},
};

use super::{
    failure::Failure,
    notice::Notice,
    patience::Patience,
    smtp::{Server, Session},
    words,
};
use crate::model::{event::Event, settings::Secret};

/// The longest subject, in characters.
const SUBJECT_MAX: usize = 200;

/// Sends mail.
#[derive(Debug)]
pub struct Email {
    /// `smtp://HOST:PORT` or `smtps://HOST:PORT`.
    pub server: Arc<str>,
    /// The sender.
    pub from: Arc<str>,
    /// The recipients.
    pub to: Vec<Arc<str>>,
    /// User and password.
    pub login: Option<(Arc<str>, Secret)>,
    /// How long it may take.
    pub patience: Patience,
}

impl Email {
    /// Sends a notice.
    ///
    /// # Errors
    ///
    /// If the server did not take it, or not for every recipient.
    pub fn send(&self, notice: &Notice) -> Result<(), Failure> {
        let login = self.login.as_ref();
        let login =
            login.map(|(user, pass)| Credentials::new(user.to_string(), pass.0.to_string()));
        let server = Server::parse(&self.server, login.as_ref())?;
        let message = self.message(notice)?;
        let hello = ClientId::Domain(notice.host.to_string());
        let mut session = Session::open(&server, &hello, login.as_ref(), self.patience)?;
        session.mail(message.envelope(), &message.formatted())
    }

    fn message(&self, notice: &Notice) -> Result<Message, Failure> {
        let mut builder = Message::builder()
            .from(mailbox(&self.from)?)
            .subject(subject(notice))
            .message_id(Some(id(notice)))
            .header(ContentType::TEXT_PLAIN)
            // So that nobody's holiday notice answers.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".into(),
            ));
        for recipient in &self.to {
            builder = builder.to(mailbox(recipient)?);
        }
        builder.body(text(notice)).map_err(|error| Failure::lasting(error.to_string()))
    }
}

fn mailbox(text: &str) -> Result<Mailbox, Failure> {
    text.parse().map_err(|error| Failure::lasting(format!("`{text}` is no mail address: {error}")))
}

fn subject(notice: &Notice) -> String {
    let severity = words::severity(notice.event.severity).to_uppercase();
    let subject = format!("[lbd {}] {severity}: {}", notice.host, notice.event.summary);
    words::one_line(&subject, SUBJECT_MAX)
}

/// The same at every try, so that a mail that was taken without our hearing of it is seen once.
fn id(notice: &Notice) -> String {
    let Event { time, revision, kind, summary, .. } = &*notice.event;
    let digest = words::digest(&format!("{kind} {summary}"));
    format!("<lbd.{}.{revision}.{digest}@{}>", time.0, notice.host)
}

fn text(notice: &Notice) -> String {
    let mut text = notice.summary();
    text.push('\n');
    for (what, value) in notice.details() {
        text.push_str(&format!("\n{:<9} {value}", format!("{what}:")));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::{super::fake::*, *};

    fn email(server: &str, to: &[&str], password: Option<&str>) -> Email {
        Email {
            server: server.into(),
            from: "lbd <lbd@example.com>".into(),
            to: to.iter().map(|&text| text.into()).collect(),
            login: password.map(|text| ("lbd".into(), Secret(text.into()))),
            patience: PATIENCE,
        }
    }

    #[test]
    fn a_mail_has_all_of_the_event() {
        let server = SmtpServer::start(SmtpWords::default());
        let mut event = event("rollback", "green is taken back");
        event.reason = Some("errors\nabove 1%".into());
        let to = ["a@example.com", "B <b@example.com>"];
        email(&server.url(), &to, None).send(&notice(&event)).unwrap();
        let lines = server.next();
        let has = |line: &str| assert!(lines.iter().any(|l| l == line), "{line} in {lines:#?}");
        has("EHLO edge-1");
        has("MAIL FROM:<lbd@example.com>");
        has("RCPT TO:<a@example.com>");
        has("RCPT TO:<b@example.com>");
        has("Subject: [lbd edge-1] CRITICAL: green is taken back");
        has("Auto-Submitted: auto-generated");
        has("services: app, web");
        has("reason:   errors");
        has("above 1%");
        has("before:   green 50%");
        has("revision: 7");
        has("time:     2026-01-02T03:04:05Z");
    }

    #[test]
    fn a_summary_cannot_add_headers() {
        let notice = notice(&event("weight", "x\r\nBcc: evil@example.com\r\n\r\nbody"));
        let message = email("smtp://192.0.2.1", &["a@example.com"], None).message(&notice).unwrap();
        let mail = String::from_utf8(message.formatted()).unwrap();
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        assert!(head.lines().all(|line| !line.starts_with("Bcc")), "{head}");
        assert_eq!(message.envelope().to().len(), 1);
    }

    #[test]
    fn the_id_is_the_same_at_every_try() {
        let one = notice(&event("weight", "one"));
        let other = notice(&event("weight", "another"));
        assert_eq!(id(&one), id(&one.clone()));
        assert_ne!(id(&one), id(&other));
    }

    #[test]
    fn who_can_be_reached_is_and_the_refused_is_named() {
        let words = SmtpWords { refused: "gone@example.com", ..SmtpWords::default() };
        let server = SmtpServer::start(words);
        let email = email(&server.url(), &["gone@example.com", "a@example.com"], None);
        let failure = email.send(&notice(&event("weight", "x"))).unwrap_err();
        let text =
            "sent, but not to everybody: gone@example.com: permanent error (550): no such user";
        assert_eq!(failure, Failure::lasting(text));
        assert!(server.next().iter().any(|line| line.starts_with("Subject: ")));
    }

    #[test]
    fn a_busy_server_is_tried_again_and_one_that_refuses_is_not() {
        for (answer, lasting) in [("451 later", false), ("554 never", true)] {
            let server = SmtpServer::start(SmtpWords { mail: answer, ..SmtpWords::default() });
            let email = email(&server.url(), &["a@example.com"], None);
            let failure = email.send(&notice(&event("weight", "x"))).unwrap_err();
            let expected = if lasting { Failure::lasting } else { Failure::passing };
            assert_eq!(failure, expected(failure.text.clone()), "{answer}");
        }
    }

    #[test]
    fn a_password_is_not_sent_in_the_clear() {
        let words = SmtpWords { ehlo: "250-fake\r\n250 AUTH PLAIN LOGIN", ..SmtpWords::default() };
        let server = SmtpServer::start(words);
        let email = email(&server.url(), &["a@example.com"], Some("hunter2"));
        let failure = email.send(&notice(&event("weight", "x"))).unwrap_err();
        assert!(failure.text.contains("STARTTLS"), "{}", failure.text);
        assert_eq!(failure, Failure::lasting(failure.text.clone()));
        assert!(!server.next().iter().any(|line| line.starts_with("AUTH")));
        assert!(!format!("{email:?}").contains("hunter2"));
    }

    #[test]
    fn silence_is_a_timeout() {
        let server = SmtpServer::start(SmtpWords { mail: "", ..SmtpWords::default() });
        let mut email = email(&server.url(), &["a@example.com"], None);
        email.patience.whole = std::time::Duration::from_millis(100);
        let failure = email.send(&notice(&event("weight", "x"))).unwrap_err();
        assert_eq!(failure, Failure::passing("timed out after 100ms"));
    }

    #[test]
    fn what_is_no_address_is_named() {
        let email = email("smtp://192.0.2.1", &["nobody"], None);
        let failure = email.send(&notice(&event("weight", "x"))).unwrap_err();
        assert!(failure.text.starts_with("`nobody` is no mail address"), "{}", failure.text);
    }
}
