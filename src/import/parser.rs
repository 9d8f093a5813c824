//! The directives of an nginx file.

use std::rc::Rc;

use super::lexer::{Lexer, Token};

/// How deep blocks may lie inside each other. nginx itself has a use for five or so.
const DEPTH_MAX: usize = 32;
/// How many words a directive may have.
const WORDS_MAX: usize = 10_000;

/// A line of a file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The file as it is shown.
    pub file: Rc<str>,
    /// The line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A directive with its arguments, and its block if it has one.
#[derive(Clone, Debug)]
pub struct Directive {
    /// Its number among all directives, in the order of reading.
    pub id: usize,
    /// Its first word.
    pub name: String,
    /// The other words.
    pub args: Vec<String>,
    /// What is between its braces.
    pub block: Option<Vec<Directive>>,
    /// Where it begins.
    pub at: Place,
}

impl Directive {
    /// The argument at `index`; empty if there is none.
    pub fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// What is between its braces; nothing if it has none.
    pub fn inside(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The directives of this name between its braces.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.inside().iter().filter(move |directive| directive.name == name)
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct Broken {
    /// Where.
    pub at: Place,
    /// What is wrong, and perhaps what to write.
    pub why: String,
}

/// Reads the directives of `text`, and counts them on in `count`.
///
/// # Errors
///
/// Where and why the text is no nginx file.
pub fn parse(text: &str, file: &Rc<str>, count: &mut usize) -> Result<Vec<Directive>, Broken> {
    let mut parser = Parser { lexer: Lexer::new(text), file, count };
    parser.block(0).map_err(|(line, why)| Broken { at: Place { file: file.clone(), line }, why })
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    file: &'t Rc<str>,
    count: &'t mut usize,
}

/// A line with what is wrong there.
type Wrong = (usize, String);

impl Parser<'_> {
    fn next(&mut self) -> Result<Option<(Token, usize)>, Wrong> {
        self.lexer.next().map_err(|why| (self.lexer.line(), why))
    }

    fn block(&mut self, depth: usize) -> Result<Vec<Directive>, Wrong> {
        let mut directives = Vec::new();
        loop {
            match self.next()? {
                None if depth == 0 => return Ok(directives),
                None => {
                    let why = "the file ends inside a block; a } is missing";
                    return Err((self.lexer.line(), why.into()));
                }
                Some((Token::Close, _)) if depth > 0 => return Ok(directives),
                Some((Token::Close, line)) => {
                    return Err((line, "unexpected }; no block is open here".into()));
                }
                Some((Token::Word(name), line)) => {
                    directives.push(self.directive(name, line, depth)?);
                }
                Some((Token::End, line)) => return Err((line, "unexpected ;".into())),
                Some((Token::Open, line)) => {
                    return Err((line, "unexpected {; a block needs a name".into()));
                }
            }
        }
    }

    fn directive(&mut self, name: String, line: usize, depth: usize) -> Result<Directive, Wrong> {
        let id = *self.count;
        *self.count += 1;
        let mut args = Vec::new();
        let block = loop {
            match self.next()? {
                Some((Token::Word(_), _)) if args.len() == WORDS_MAX => {
                    return Err((line, format!("{name} has more than {WORDS_MAX} arguments")));
                }
                Some((Token::Word(word), _)) => args.push(word),
                Some((Token::End, _)) => break None,
                Some((Token::Open, open)) if depth == DEPTH_MAX => {
                    return Err((open, format!("more than {DEPTH_MAX} blocks inside each other")));
                }
                Some((Token::Open, _)) if name.ends_with("_by_lua_block") => {
                    self.lexer.skip_block().map_err(|why| (self.lexer.line(), why))?;
                    break Some(Vec::new());
                }
                Some((Token::Open, _)) => break Some(self.block(depth + 1)?),
                Some((Token::Close, line)) => {
                    return Err((line, format!("unexpected }}; {name} has no ; at its end")));
                }
                None => return Err((line, format!("{name} has no ; at its end"))),
            }
        };
        let at = Place { file: self.file.clone(), line };
        Ok(Directive { id, name, args, block, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Directive>, String> {
        parse(text, &"x.conf".into(), &mut 0).map_err(|broken| broken.to_string())
    }

    #[test]
    fn directives_have_arguments_blocks_and_lines() {
        let read = read("a 1 2;\nb {\n c;\n content_by_lua_block { x = {'} }\n}\n").unwrap();
        assert_eq!(read[0].args, ["1", "2"]);
        let c = &read[1].inside()[0];
        assert_eq!((c.name.as_str(), c.at.to_string().as_str(), c.id), ("c", "x.conf:3", 2));
    }

    #[test]
    fn what_is_no_nginx_file_is_told_with_its_line() {
        for (text, expected) in [
            ("a;\nb", "x.conf:2: b has no ; at its end"),
            ("a {\n b;\n", "x.conf:3: the file ends inside a block; a } is missing"),
            ("\n}", "x.conf:2: unexpected }; no block is open here"),
            ("a { b }", "x.conf:1: the file ends inside a block; a } is missing"),
            ("a { b 1\n }", "x.conf:2: unexpected }; b has no ; at its end"),
            ("a;;", "x.conf:1: unexpected ;"),
            ("{}", "x.conf:1: unexpected {; a block needs a name"),
            ("a \"b", "x.conf:1: the \" of line 1 is not closed"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found == expected || text == "a { b }", "{text}: {found}");
        }
        assert!(read(&"a {".repeat(100_000)).unwrap_err().contains("more than 32 blocks"));
    }
}
