//! `rollout report`: one rollout on paper.

use std::{io, path::Path};

use crate::{
    api::Op,
    cli::{
        call::Call,
        exit::Trouble,
        grammar::{Format, ReportArgs},
        out::Form,
        session::Session,
    },
};

/// Prints the report, or writes it to a file.
///
/// # Errors
///
/// As for [`crate::cli::client::Client::call`]; if the file cannot be written.
pub async fn run(session: &mut Session<'_>, args: ReportArgs) -> Result<(), Trouble> {
    let usual = if session.out.form == Form::Json { Format::Json } else { Format::Md };
    let format = args.format.unwrap_or(usual);
    let call = Call::new(Op::ReportRollout).at(&args.id).query("format", format.as_str());
    let report = session.client.call(&call).await?;
    match args.output {
        None => session.out.raw(&report.text()),
        Some(file) => {
            write(&file, &report.text())?;
            session.out.lines([format!("{} is written", file.display())])
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), Trouble> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
    Ok(std::fs::write(file, text).map_err(named)?)
}
