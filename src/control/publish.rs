//! Makes the published view from the model.

use std::{collections::HashMap, sync::Arc};

use minijinja::{Environment, context};

use super::clock;
use crate::{
    model::{
        EndpointKey, Model, Moment, ServiceName,
        maintenance::Maintenance,
        settings::{AccessLog, MaintenanceDefaults},
        snapshot,
    },
    observe::access_log::{Sink, Writer},
    page::{Page, html, words},
    tally::Tallies,
    view::{PoolView, ServiceView, View},
};

/// The view of `model`, with the tallies its requests are counted in.
pub fn view(
    model: &Model,
    tallies: &mut Tallies,
    logs: &Writer,
    sinks: &mut HashMap<AccessLog, Arc<Sink>>,
) -> View {
    let (snapshot, now) = (model.snapshot(), clock::now());
    let mut sink =
        |log: &AccessLog| sinks.entry(log.clone()).or_insert_with(|| logs.sink(log)).clone();
    let defaults = &model.settings.maintenance;
    let services = snapshot
        .services
        .iter()
        .map(|service| ServiceView {
            pools: service.pools.iter().map(|pool| pool_view(service, pool, tallies)).collect(),
            own: tallies.own(&service.name),
            page: service
                .maintenance
                .as_ref()
                .map(|m| Arc::new(page(m, defaults, &service.name, now))),
            log: service.settings.access_log.as_ref().map(&mut sink),
        })
        .collect();
    View {
        services,
        unrouted: tallies.unrouted(),
        listeners: model.settings.listener.clone(),
        runtime: model.settings.runtime.clone(),
        retry_after: defaults.retry_after,
        snapshot,
    }
}

fn pool_view(
    service: &snapshot::Service,
    pool: &snapshot::Pool,
    tallies: &mut Tallies,
) -> PoolView {
    let key = |endpoint: &snapshot::Endpoint| EndpointKey {
        service: service.name.clone(),
        pool: pool.name.clone(),
        address: endpoint.address.clone(),
        target: endpoint.target.clone(),
    };
    PoolView {
        tally: tallies.pool(&service.name, &pool.name),
        endpoints: pool.endpoints.iter().map(|e| tallies.endpoint(&key(e))).collect(),
    }
}

/// The maintenance page of a service.
fn page(
    maintenance: &Maintenance,
    defaults: &MaintenanceDefaults,
    service: &ServiceName,
    now: Moment,
) -> Page {
    let message = maintenance.message.as_deref().unwrap_or(&defaults.message);
    let (title, _) = words(503);
    let plain = || html("Maintenance", message);
    let page = match &defaults.template {
        Some(template) => rendered(template, maintenance, defaults, message, service, now),
        None => Ok(plain()),
    };
    // The template's form was checked with the config; one that fails on these values still must not
    // keep the page from being shown.
    let page = page.unwrap_or_else(|problem| {
        tracing::error!("the maintenance page's template fails: {problem}");
        plain()
    });
    Page::with_html(page, 503, title, message)
}

fn rendered(
    template: &str,
    maintenance: &Maintenance,
    defaults: &MaintenanceDefaults,
    message: &str,
    service: &ServiceName,
    now: Moment,
) -> Result<String, minijinja::Error> {
    let until =
        maintenance.until.and_then(|m| jiff::Timestamp::from_millisecond(m.0.cast_signed()).ok());
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    environment.set_fuel(Some(100_000));
    environment.add_template("page.html", template)?;
    environment.get_template("page.html")?.render(context! {
        message,
        service => service.as_str(),
        retry_after => maintenance.retry_after(now, defaults.retry_after),
        until => until.map_or_else(String::new, |t| t.to_string()),
    })
}
