//! Help: the verbs in groups, examples, exit codes.

use clap::CommandFactory;

use super::{exit::Exit, grammar::Cli};

/// The verbs in the groups in which help shows them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Look", &["status", "explain", "events"]),
    ("Release", &["rollout", "weight", "switch", "rollback", "check", "guard", "cohort"]),
    (
        "Operate",
        &["maintenance", "pause", "resume", "endpoint", "notify", "cert", "config", "upgrade"],
    ),
    ("lbctl itself", &["version", "completion", "man", "help"]),
];

/// The whole grammar, with its help.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}Options:\n{{options}}{{after-help}}",
        grouped(&command)
    );
    let examples = "Examples:
  lbctl rollout start green --wait --reason 'release 7'
  lbctl rollback";
    let codes: Vec<_> =
        Exit::ALL.iter().map(|e| format!("  {}  {}", e.code(), e.meaning())).collect();
    command
        .help_template(template)
        .after_help(format!("{examples}\n\nExit codes:\n{}", codes.join("\n")))
}

fn grouped(command: &clap::Command) -> String {
    let mut text = String::new();
    for (group, verbs) in GROUPS {
        text.push_str(&format!("{group}:\n"));
        for verb in *verbs {
            let about = command.find_subcommand(verb).and_then(|c| c.get_about());
            let about = about.map_or("Explain a verb".to_owned(), ToString::to_string);
            text.push_str(&format!("  {verb:<12} {about}\n"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn leaves(command: &clap::Command) -> Vec<clap::Command> {
        let subs = command.get_subcommands().filter(|c| c.get_name() != "help");
        std::iter::once(command.clone()).chain(subs.flat_map(leaves)).collect()
    }

    /// Splits like a shell that knows only single quotes, up to a redirection or pipe.
    fn words(line: &str) -> Vec<String> {
        let line = line.split([' ']).take_while(|w| !["<", ">", "|"].contains(w));
        let line = line.collect::<Vec<_>>().join(" ");
        let parts = line.split('\'').enumerate();
        let mut words = vec![];
        for (n, part) in parts {
            match n % 2 {
                0 => words.extend(part.split_whitespace().map(String::from)),
                _ => words.push(part.into()),
            }
        }
        words
    }

    fn typed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(words(line))
    }

    #[test]
    fn the_grammar_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_has_two_examples_that_parse() {
        for verb in leaves(&command()) {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n"), "{}", verb.get_name());
            let examples: Vec<_> =
                help.lines().filter_map(|l| l.strip_prefix("  lbctl ")).collect();
            assert!(examples.len() == 2, "{}: {help}", verb.get_name());
            for example in examples {
                typed(&format!("lbctl {example}")).unwrap();
            }
        }
    }

    #[test]
    fn help_shows_every_verb_once_and_the_exit_codes() {
        let shown: Vec<_> = GROUPS.iter().flat_map(|(_, verbs)| *verbs).copied().collect();
        let command = command();
        let mut verbs: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        verbs.push("help");
        let (mut one, mut other) = (shown.clone(), verbs);
        one.sort_unstable();
        other.sort_unstable();
        assert_eq!(one, other);
        let help = self::command().render_help().to_string();
        assert!(help.contains("Release:\n  rollout "), "{help}");
        assert!(help.contains("  4  refused, nothing changed"), "{help}");
    }
}
