//! `cert list` and `cert reload`.

use super::{
    call::Call,
    change,
    exit::Trouble,
    grammar::Cert,
    moment,
    session::Session,
    table::{
        Cell,
        Side::{Left, Right},
        Table, Tone,
    },
};
use crate::{
    api::{
        Op,
        certificate::{CertificateList, CertificateView},
        release::NoBody,
    },
    model::Changed,
};

const DAY: u64 = 24 * 3600 * 1000;

/// Does what was typed.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn run(session: &mut Session<'_>, verb: Cert) -> Result<(), Trouble> {
    match verb {
        Cert::List => {
            let call = Call::new(Op::ListCertificates);
            let list: CertificateList = session.show(&call).await?.read()?;
            match list.certificates.is_empty() {
                true => session.out.lines(["no listener has a certificate"]),
                false => {
                    let zone = moment::now().time_zone().clone();
                    let lines = table(&list.certificates, &zone).lines(session.out.paint);
                    session.out.lines(lines)
                }
            }
        }
        Cert::Reload => {
            let call = Call::new(Op::ReloadCertificates).body(&NoBody {})?.on(&session.terms);
            let changed: Changed = session.client.call(&call).await?.read()?;
            session.out.json(&changed)?;
            change::print(&mut session.out, &changed)
        }
    }
}

fn table(certificates: &[CertificateView], zone: &jiff::tz::TimeZone) -> Table {
    let columns = [
        ("LISTENER", Left),
        ("NAMES", Left),
        ("EXPIRES", Left),
        ("DAYS", Right),
        ("FROM", Left),
        ("ISSUER", Left),
        ("FILE", Left),
    ];
    let mut table = Table::new(0, &columns);
    for one in certificates {
        let end = jiff::Timestamp::from_millisecond(one.not_after.0.cast_signed());
        let day = end.map(|end| end.to_zoned(zone.clone()).date().to_string()).unwrap_or_default();
        let life = one.not_after.since(one.not_before).0;
        let (soon, very_soon) = one.source.thresholds(life / DAY, 1);
        let days = match one.days_left {
            _ if one.expired => Cell::toned(Tone::Bad, "expired"),
            days if days < very_soon => Cell::toned(Tone::Bad, days.to_string()),
            days if days < soon => Cell::toned(Tone::Warning, days.to_string()),
            days => days.into(),
        };
        table.row([
            one.listener.to_string().into(),
            one.names.join(", ").into(),
            day.into(),
            days,
            one.source.as_str().into(),
            one.issuer.clone().into(),
            one.cert.clone().into(),
        ]);
    }
    table
}
