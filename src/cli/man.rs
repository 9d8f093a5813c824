//! The manual page: one page for all verbs.

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use super::exit::{Exit, Trouble};

/// The page, in roff.
///
/// # Errors
///
/// None in practice: it is written to memory.
pub fn page(command: Command) -> Result<String, Trouble> {
    let mut command = command;
    command.build();
    let man = Man::new(command.clone().after_help(None::<&str>));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::default();
    roff.control("SH", ["VERBS"]);
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        verbs(&mut roff, verb);
    }
    exit_codes(&mut roff);
    roff.to_writer(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn verbs(roff: &mut Roff, verb: &Command) {
    let mut subs = verb.get_subcommands().filter(|sub| sub.get_name() != "help").peekable();
    if subs.peek().is_some() {
        subs.for_each(|sub| verbs(roff, sub));
    } else {
        section(roff, verb);
    }
}

fn section(roff: &mut Roff, verb: &Command) {
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim().trim_start_matches("Usage: ");
    roff.control("SS", [usage]);
    if let Some(about) = verb.get_about() {
        roff.text([roman(format!("{about}."))]);
    }
    let own = verb.get_arguments().filter(|a| !a.is_global_set() && a.get_id() != "help");
    for argument in own {
        roff.control("TP", []);
        let name = argument.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
        match argument.get_long() {
            None => roff.text([italic(name.unwrap_or_default())]),
            Some(long) if argument.get_action().takes_values() => {
                roff.text([bold(format!("--{long}")), roman(" "), italic(name.unwrap_or_default())])
            }
            Some(long) => {
                let short = argument.get_short().map(|s| format!("-{s}, ")).unwrap_or_default();
                roff.text([bold(format!("{short}--{long}"))])
            }
        };
        roff.text([roman(argument.get_help().map(ToString::to_string).unwrap_or_default())]);
    }
    examples(roff, verb);
}

fn examples(roff: &mut Roff, verb: &Command) {
    let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
    roff.control("PP", []);
    roff.text([roman("Examples:")]);
    roff.control("nf", []);
    for line in help.lines().filter(|line| line.starts_with("  ")) {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

fn exit_codes(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        roff.control("TP", []);
        roff.text([bold(exit.code().to_string())]);
        roff.text([roman(exit.meaning())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_verb_and_code() {
        let page = page(crate::cli::command()).unwrap();
        for text in
            [".TH lbctl 1", ".SS \"lbctl weight", ".SS \"lbctl endpoint drain", "EXIT STATUS"]
        {
            assert!(page.contains(text), "{text}: {page}");
        }
    }
}
