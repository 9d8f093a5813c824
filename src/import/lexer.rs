//! Words and signs of an nginx file, by nginx's own rules.
//!
//! A quote is one only where a word begins; `${` is a variable and no block; a backslash keeps the next
//! character in the word, and stays in the text unless that is a quote, a backslash or a letter for a
//! control character.

use std::{iter::Peekable, str::Chars};

/// A word or sign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Token {
    /// A name or an argument, without its quotes.
    Word(String),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// Reads one text from its beginning to its end.
pub struct Lexer<'t> {
    rest: Peekable<Chars<'t>>,
    line: usize,
}

impl<'t> Lexer<'t> {
    /// A lexer at the beginning of `text`.
    pub fn new(text: &'t str) -> Self {
        Self { rest: text.trim_start_matches('\u{feff}').chars().peekable(), line: 1 }
    }

    /// The line that is being read, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The next token with the line it begins on; `None` at the end.
    ///
    /// # Errors
    ///
    /// What is wrong, on the line that [`Self::line`] says.
    pub fn next(&mut self) -> Result<Option<(Token, usize)>, String> {
        self.skip_space();
        let line = self.line;
        let token = match self.rest.peek() {
            None => return Ok(None),
            Some(';') => self.sign(Token::End),
            Some('{') => self.sign(Token::Open),
            Some('}') => self.sign(Token::Close),
            Some(&quote @ ('"' | '\'')) => self.quoted(quote)?,
            Some(_) => self.bare()?,
        };
        Ok(Some((token, line)))
    }

    /// Passes over a block in another language, whose `{` was read. Quotes mean nothing here.
    ///
    /// # Errors
    ///
    /// If the text ends before the block.
    pub fn skip_block(&mut self) -> Result<(), String> {
        let mut open = 1_usize;
        while let Some(c) = self.take() {
            match c {
                '{' => open += 1,
                '}' => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
        Err("the file ends inside a block; a } is missing".into())
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn sign(&mut self, token: Token) -> Token {
        self.take();
        token
    }

    fn skip_space(&mut self) {
        while let Some(&c) = self.rest.peek() {
            if c == '#' {
                while self.rest.peek().is_some_and(|c| *c != '\n') {
                    self.take();
                }
            } else if !is_space(c) {
                return;
            } else {
                self.take();
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, String> {
        let begun = self.line;
        self.take();
        let mut text = String::new();
        loop {
            match self.take() {
                None => return Err(format!("the {quote} of line {begun} is not closed")),
                Some('\\') => self.escape(&mut text),
                Some(c) if c == quote => break,
                Some(c) => text.push(c),
            }
        }
        match self.rest.peek() {
            None => Ok(Token::Word(text)),
            Some(&c) if is_space(c) || matches!(c, ';' | '{' | ')') => Ok(Token::Word(text)),
            Some(c) => Err(format!("unexpected {c:?} after a closing quote; a space is missing")),
        }
    }

    fn bare(&mut self) -> Result<Token, String> {
        let mut text = String::new();
        let mut variable = false;
        while let Some(&c) = self.rest.peek() {
            if is_space(c) || c == ';' || (c == '{' && !variable) {
                break;
            }
            self.take();
            variable = c == '$';
            match c {
                '\\' => self.escape(&mut text),
                c => text.push(c),
            }
        }
        Ok(Token::Word(text))
    }

    fn escape(&mut self, text: &mut String) {
        match self.take() {
            Some(c @ ('"' | '\'' | '\\')) => text.push(c),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('n') => text.push('\n'),
            Some(c) => text.extend(['\\', c]),
            None => text.push('\\'),
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<String>, String> {
        let mut lexer = Lexer::new(text);
        let mut words = Vec::new();
        while let Some((token, _)) = lexer.next()? {
            words.push(match token {
                Token::Word(word) => word,
                Token::End => ";".into(),
                Token::Open => "{".into(),
                Token::Close => "}".into(),
            });
        }
        Ok(words)
    }

    #[test]
    fn words_are_cut_as_nginx_cuts_them() {
        for (text, expected) in [
            ("listen 80;", &["listen", "80", ";"][..]),
            ("a 'b c' \"d;e\";", &["a", "b c", "d;e", ";"]),
            ("a x\"y\" it's;", &["a", "x\"y\"", "it's", ";"]),
            ("a ${b}c#d; # e", &["a", "${b}c#d", ";"]),
            ("a b{c}", &["a", "b", "{", "c}"]),
            (r"~ \.php$ b\;c '\'' \d\\;", &["~", r"\.php$", r"b\;c", "'", r"\d\", ";"]),
            (r#""tab\there""#, &["tab\there"]),
            ("if ($a = \"\") {}", &["if", "($a", "=", "", ")", "{", "}"]),
            ("\u{feff}a;", &["a", ";"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        assert_eq!(words("a\n 'b").unwrap_err(), "the ' of line 2 is not closed");
        assert!(words("a 'b'c;").unwrap_err().starts_with("unexpected 'c'"));
    }

    #[test]
    fn a_block_in_another_language_is_passed_over() {
        let mut lexer = Lexer::new(" if x then\n t = {'} end\n } a;");
        lexer.skip_block().unwrap();
        assert_eq!(lexer.line(), 3);
        assert!(Lexer::new("{").skip_block().is_err());
    }
}
