//! What lbd answers in its own name, as HTML, JSON or text by the request's `Accept`.
//!
//! Pages name neither lbd's insides nor endpoints.

use std::{fmt::Write, sync::Arc};

use jiff::Timestamp;
use serde_json::json;

const ALLOW: &str = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// For people.
    Html,
    /// For programs.
    Json,
    /// For terminals.
    Text,
}

impl Form {
    /// The form that a request prefers: the one of highest quality in `Accept`, and among equals the
    /// first named; HTML if it does not say.
    pub fn of(accept: Option<&str>) -> Self {
        let mut best: (u16, Self) = (0, Self::Html);
        for part in accept.unwrap_or_default().split(',') {
            let mut pieces = part.split(';').map(str::trim);
            let form = match pieces.next().unwrap_or_default() {
                "text/html" | "application/xhtml+xml" | "*/*" | "text/*" => Self::Html,
                "application/json" | "application/*" | "application/problem+json" => Self::Json,
                "text/plain" => Self::Text,
                _ => continue,
            };
            let quality = pieces.find_map(|p| p.strip_prefix("q=")).map_or(1000, thousandths);
            if quality > best.0 {
                best = (quality, form);
            }
        }
        best.1
    }

    /// Its media type.
    pub const fn media(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

fn thousandths(quality: &str) -> u16 {
    quality.parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16)
}

/// An answer in every form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    html: Arc<str>,
    json: Arc<str>,
    text: Arc<str>,
}

impl Page {
    /// The answer with a status, a title and a sentence.
    pub fn new(status: u16, title: &str, sentence: &str) -> Self {
        Self::with_html(html(title, sentence), status, title, sentence)
    }

    /// The same with an own HTML page.
    pub fn with_html(html: impl Into<Arc<str>>, status: u16, title: &str, sentence: &str) -> Self {
        let json = json!({ "status": status, "error": title, "message": sentence });
        Self {
            html: html.into(),
            json: format!("{json}\n").into(),
            text: format!("{title}: {sentence}\n").into(),
        }
    }

    /// The answer to one of lbd's own errors.
    pub fn of_status(status: u16) -> Self {
        let (title, sentence) = words(status);
        Self::new(status, title, sentence)
    }

    /// The body in a form.
    pub fn body(&self, form: Form) -> &Arc<str> {
        match form {
            Form::Html => &self.html,
            Form::Json => &self.json,
            Form::Text => &self.text,
        }
    }
}

/// Title and sentence for a status that lbd answers in its own name.
pub const fn words(status: u16) -> (&'static str, &'static str) {
    match status {
        301 | 302 | 303 | 307 | 308 => ("Moved", "This has another address now."),
        400 => ("Bad Request", "The request was malformed."),
        401 => ("Unauthorized", "Please sign in."),
        403 => ("Forbidden", "You may not see this."),
        404 => ("Not Found", "There is nothing at this address."),
        408 => ("Request Timeout", "The request took too long to arrive."),
        413 => ("Content Too Large", "The request's body is too large."),
        421 => ("Misdirected Request", "This host is not served here."),
        429 => ("Too Many Requests", "You ask too often. Please try again soon."),
        502 => ("Bad Gateway", "The application did not answer properly. Please try again."),
        503 => ("Service Unavailable", "The application is not available. Please try again soon."),
        504 => ("Gateway Timeout", "The application took too long to answer. Please try again."),
        405 => ("Method Not Allowed", "This method is not allowed here."),
        414 => ("URI Too Long", "The request's address is too long."),
        417 => ("Expectation Failed", "The request expects something that is not known here."),
        431 => ("Request Header Fields Too Large", "The request's headers are too large."),
        501 => ("Not Implemented", "The request uses something that is not spoken here."),
        505 => ("HTTP Version Not Supported", "This HTTP version is not spoken here."),
        _ => ("Internal Server Error", "Something went wrong. Please try again."),
    }
}

/// The HTML of a plain page.
pub fn html(title: &str, sentence: &str) -> String {
    let (title, sentence) = (escaped(title), escaped(sentence));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:1.1em/1.5 system-ui,sans-serif;max-width:32em;margin:15vh auto;padding:0 1em}}\
         @media(prefers-color-scheme:dark){{body{{background:#111;color:#eee}}}}</style></head>\
         <body><h1>{title}</h1><p>{sentence}</p></body></html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A whole HTTP/1.1 answer to a request that cannot be served at all; the connection closes.
pub fn raw_refusal(status: u16, why: &str, now: Timestamp) -> String {
    let (title, _) = words(status);
    let body = format!("{title}: {why}\n");
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT");
    // RFC 9110, section 15.5.6: which ones would be taken.
    let allow = if status == 405 { ALLOW } else { "" };
    let mut answer = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        answer,
        "HTTP/1.1 {status} {title}\r\nDate: {date}\r\n{allow}\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_the_client_prefers() {
        for (accept, form) in [
            (None, Form::Html),
            (Some("*/*"), Form::Html),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Form::Html),
            (Some("application/json"), Form::Json),
            (Some("application/json, text/plain, */*"), Form::Json),
            (Some("text/plain"), Form::Text),
            (Some("text/html;q=0.5, application/json;q=0.9"), Form::Json),
            (Some("image/png"), Form::Html),
            (Some(";;,q=,"), Form::Html),
        ] {
            assert_eq!(Form::of(accept), form, "{accept:?}");
        }
    }

    #[test]
    fn pages_are_escaped() {
        let page = Page::new(503, "A & B", "<script>\"x\"</script>");
        assert!(
            page.body(Form::Html).contains("A &amp; B")
                && !page.body(Form::Html).contains("<script>")
        );
        assert!(page.body(Form::Json).contains(r#""message":"<script>\"x\"</script>""#));
    }

    #[test]
    fn a_refusal_is_a_whole_answer() {
        let answer = raw_refusal(431, "too much", Timestamp::UNIX_EPOCH);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), "{head}");
        assert!(!head.contains("Allow"));
        let no_method = raw_refusal(405, "no", Timestamp::UNIX_EPOCH);
        assert!(no_method.contains("\r\nAllow: GET, HEAD, "), "{no_method}");
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
