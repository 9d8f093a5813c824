//! Makes the published view from the model.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use minijinja::{Environment, context};

use super::clock;
use crate::{
    model::{
        EndpointKey, Model, Moment, PoolName, ServiceName,
        maintenance::Maintenance,
        settings::{AccessLog, MaintenanceDefaults},
        snapshot,
    },
    observe::{
        access_log::{Sink, Writer},
        spans::Exporter,
    },
    page::{Page, html, words},
    tally::Tallies,
    view::{Barrier, Bulkhead, PoolView, Published, ServiceView, View},
};

/// Makes views, and publishes them.
#[derive(Debug)]
pub struct Publisher {
    /// The access logs' writer.
    pub logs: Writer,
    /// What brings spans to their collector.
    pub exporter: Exporter,
    published: Arc<Published>,
    kept: Kept,
    /// What proves names to an ACME server, by token.
    pub proofs: BTreeMap<String, String>,
}

/// What one view hands on to the next.
#[derive(Debug, Default)]
struct Kept {
    sinks: HashMap<AccessLog, Arc<Sink>>,
    barriers: BTreeMap<ServiceName, Arc<Barrier>>,
    bulkheads: BTreeMap<(ServiceName, PoolName), Arc<Bulkhead>>,
}

impl Publisher {
    /// Publishes the first view.
    pub fn new(model: &Model, tallies: &mut Tallies, logs: Writer) -> Self {
        let (mut kept, mut exporter) = (Kept::default(), Exporter::default());
        let mut view = view(model, tallies, &logs, &mut kept);
        view.spans = exporter.sink(model.settings.tracing.as_ref());
        let (published, proofs) = (Arc::new(Published::new(view)), BTreeMap::new());
        Self { logs, exporter, published, kept, proofs }
    }

    /// Publishes what `model` says now. Requests that wait for a service which is no longer paused go
    /// on, and see it.
    pub fn publish(&mut self, model: &Model, tallies: &mut Tallies) {
        let Self { logs, exporter, published, kept, proofs } = self;
        let mut view = view(model, tallies, logs, kept);
        view.spans = exporter.sink(model.settings.tracing.as_ref());
        view.proofs = Some(&*proofs).filter(|proofs| !proofs.is_empty()).cloned().map(Arc::new);
        published.store(view);
        kept.bulkheads.values().for_each(|bulkhead| bulkhead.stir());
        let is_paused = |name: &ServiceName| {
            model.state.services.get(name).is_some_and(|service| service.pause.is_some())
        };
        kept.bulkheads.retain(|(service, pool), _| model.limit(service, pool).is_some());
        kept.barriers.retain(|name, barrier| {
            let stays = is_paused(name);
            if !stays {
                barrier.open();
            }
            stays
        });
    }

    /// Where the view is published.
    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// How many requests of a service wait until it is no longer paused.
    pub fn held(&self, service: &ServiceName) -> u64 {
        self.kept.barriers.get(service).map_or(0, |barrier| barrier.waiting() as u64)
    }

    /// The places of pools whose requests are limited.
    pub fn bulkheads(&self) -> impl Iterator<Item = (&ServiceName, &PoolName, &Bulkhead)> {
        let all = self.kept.bulkheads.iter();
        all.map(|((service, pool), bulkhead)| (service, pool, bulkhead.as_ref()))
    }
}

/// The view of `model`, with the tallies its requests are counted in.
fn view(model: &Model, tallies: &mut Tallies, logs: &Writer, kept: &mut Kept) -> View {
    let Kept { sinks, barriers, bulkheads } = kept;
    let (snapshot, now) = (model.snapshot(), clock::now());
    let mut sink =
        |log: &AccessLog| sinks.entry(log.clone()).or_insert_with(|| logs.sink(log)).clone();
    let defaults = &model.settings.maintenance;
    let services = snapshot
        .services
        .iter()
        .map(|service| ServiceView {
            pools: service
                .pools
                .iter()
                .map(|pool| pool_view(service, pool, tallies, bulkheads))
                .collect(),
            own: tallies.own(&service.name),
            guard: tallies.guard(&service.name),
            barrier: service
                .paused
                .map(|_| barriers.entry(service.name.clone()).or_default().clone()),
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
        spans: None,
        proofs: None,
        snapshot,
    }
}

fn pool_view(
    service: &snapshot::Service,
    pool: &snapshot::Pool,
    tallies: &mut Tallies,
    bulkheads: &mut BTreeMap<(ServiceName, PoolName), Arc<Bulkhead>>,
) -> PoolView {
    let bulkhead = pool.limit.map(|limit| {
        let name = (service.name.clone(), pool.name.clone());
        let bulkhead = bulkheads.entry(name).or_insert_with(|| Arc::new(Bulkhead::new(limit)));
        bulkhead.set(limit);
        bulkhead.clone()
    });
    let key = |endpoint: &snapshot::Endpoint| EndpointKey {
        service: service.name.clone(),
        pool: pool.name.clone(),
        address: endpoint.address.clone(),
        target: endpoint.target.clone(),
    };
    PoolView {
        tally: tallies.pool(&service.name, &pool.name),
        endpoints: pool.endpoints.iter().map(|e| tallies.endpoint(&key(e))).collect(),
        bulkhead,
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
