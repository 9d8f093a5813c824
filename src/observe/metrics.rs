//! The metrics table, and how it is written for Prometheus.

use prometheus::{
    Encoder, TextEncoder,
    core::Collector,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, MetricFamily, MetricType},
};

use crate::model::histogram::Counts;

/// Every metric of lbd's own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Metric {
    /// Requests by status.
    Requests,
    /// Failures by blame.
    RequestFailures,
    /// Whole durations.
    RequestDuration,
    /// Times to the first byte.
    UpstreamFirstByte,
    /// Requests that are running.
    RequestsInFlight,
    /// How many may run.
    InFlightLimit,
    /// Requests that wait for a place.
    RequestsWaiting,
    /// Requests that found no place in time.
    Shed,
    /// Shares that were set.
    ShareRatio,
    /// Shares that were observed.
    ObservedShareRatio,
    /// Whether endpoints are fit.
    EndpointUp,
    /// Further attempts.
    Retries,
    /// Requests that another pool served.
    Failovers,
    /// Failed first attempts that the baseline made good.
    Shielded,
    /// Rollbacks by cause.
    Rollbacks,
    /// Where rollouts stand.
    RolloutStage,
    /// Notices by receiver and result.
    Notices,
    /// Whether maintenance is on.
    Maintenance,
    /// The revision in force.
    Revision,
    /// Open client connections.
    Connections,
    /// Those of them that are parked.
    ConnectionsParked,
    /// When certificates end.
    CertificateExpiry,
    /// Config reloads.
    ConfigReloads,
    /// Access log lines that were lost.
    AccessLogLost,
    /// Spans that were lost.
    SpansLost,
}

impl Metric {
    /// All metrics, in the order of their output.
    pub const ALL: [Self; 25] = [
        Self::Requests,
        Self::RequestFailures,
        Self::RequestDuration,
        Self::UpstreamFirstByte,
        Self::RequestsInFlight,
        Self::InFlightLimit,
        Self::RequestsWaiting,
        Self::Shed,
        Self::ShareRatio,
        Self::ObservedShareRatio,
        Self::EndpointUp,
        Self::Retries,
        Self::Failovers,
        Self::Shielded,
        Self::Rollbacks,
        Self::RolloutStage,
        Self::Notices,
        Self::Maintenance,
        Self::Revision,
        Self::Connections,
        Self::ConnectionsParked,
        Self::CertificateExpiry,
        Self::ConfigReloads,
        Self::AccessLogLost,
        Self::SpansLost,
    ];

    const fn spec(self) -> (&'static str, MetricType, &'static str) {
        use MetricType::{COUNTER, GAUGE, HISTOGRAM};
        match self {
            Self::Requests => (
                "lbd_requests_total",
                COUNTER,
                "Requests by status; pool `-` is what lbd answered itself.",
            ),
            Self::RequestFailures => (
                "lbd_request_failures_total",
                COUNTER,
                "Failed requests by blame, once for each request.",
            ),
            Self::RequestDuration => (
                "lbd_request_duration_seconds",
                HISTOGRAM,
                "From the request's head to the response's last byte.",
            ),
            Self::UpstreamFirstByte => (
                "lbd_upstream_first_byte_seconds",
                HISTOGRAM,
                "From the request's head to the response's head.",
            ),
            Self::RequestsInFlight => {
                ("lbd_requests_in_flight", GAUGE, "Requests that are running at endpoints.")
            }
            Self::InFlightLimit => (
                "lbd_in_flight_limit",
                GAUGE,
                "How many requests may run at a time, where that is limited.",
            ),
            Self::RequestsWaiting => {
                ("lbd_requests_waiting", GAUGE, "Requests that wait for a place in their pool.")
            }
            Self::Shed => {
                ("lbd_shed_total", COUNTER, "Requests that found no place in their pool in time.")
            }
            Self::ShareRatio => {
                ("lbd_share_ratio", GAUGE, "The part of the traffic that was set, 0 to 1.")
            }
            Self::ObservedShareRatio => (
                "lbd_observed_share_ratio",
                GAUGE,
                "The part of the requests of the last 10 s, 0 to 1.",
            ),
            Self::EndpointUp => ("lbd_endpoint_up", GAUGE, "1 if the endpoint is fit to serve."),
            Self::Retries => ("lbd_retries_total", COUNTER, "Further attempts after a failed one."),
            Self::Failovers => (
                "lbd_failovers_total",
                COUNTER,
                "Requests served for a pool that had no usable endpoint.",
            ),
            Self::Shielded => (
                "lbd_shielded_total",
                COUNTER,
                "Failed first attempts on the pool that were replayed on the baseline.",
            ),
            Self::Rollbacks => (
                "lbd_rollbacks_total",
                COUNTER,
                "Rollbacks by cause: what the guard found, or operator.",
            ),
            Self::RolloutStage => (
                "lbd_rollout_stage",
                GAUGE,
                "The stage of the rollout that runs, from 1; 0 if none does, -1 while it bakes.",
            ),
            Self::Notices => ("lbd_notices_total", COUNTER, "Notices by receiver and result."),
            Self::Maintenance => {
                ("lbd_maintenance", GAUGE, "1 while the service is in maintenance.")
            }
            Self::Revision => ("lbd_revision", GAUGE, "The revision in force."),
            Self::Connections => ("lbd_connections", GAUGE, "Open client connections."),
            Self::ConnectionsParked => (
                "lbd_connections_parked",
                GAUGE,
                "Open client connections that are idle and kept as a small record.",
            ),
            Self::CertificateExpiry => (
                "lbd_certificate_expiry_seconds",
                GAUGE,
                "When the certificate ends, in seconds since the Unix epoch.",
            ),
            Self::ConfigReloads => {
                ("lbd_config_reloads_total", COUNTER, "Config reloads by result.")
            }
            Self::AccessLogLost => {
                ("lbd_access_log_lost_total", COUNTER, "Access log lines that were lost.")
            }
            Self::SpansLost => (
                "lbd_spans_lost_total",
                COUNTER,
                "Spans that did not reach the collector of `[tracing]`.",
            ),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.spec().0
    }
}

/// One scrape.
#[derive(Debug)]
pub struct Exposition {
    families: Vec<MetricFamily>,
}

impl Default for Exposition {
    fn default() -> Self {
        let family = |metric: Metric| {
            let (name, kind, help) = metric.spec();
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        };
        Self { families: Metric::ALL.into_iter().map(family).collect() }
    }
}

impl Exposition {
    /// Adds a value of a counter or gauge.
    pub fn add(&mut self, metric: Metric, labels: &[(&str, &str)], value: f64) {
        let mut sample = prometheus::proto::Metric::from_label(pairs(labels));
        match metric.spec().1 {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        self.push(metric, sample);
    }

    /// Adds what a histogram counted.
    pub fn add_histogram(&mut self, metric: Metric, labels: &[(&str, &str)], counts: &Counts) {
        let bucket = |micros: u64| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(micros as f64 / 1e6);
            // A bound is the first value of a bucket of ours; all before it lie below.
            bucket.set_cumulative_count(counts.at_most(micros - 1));
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_sample_count(counts.count());
        histogram.set_sample_sum(counts.sum as f64 / 1e6);
        histogram.set_bucket(bounds().map(bucket).collect());
        let mut sample = prometheus::proto::Metric::from_label(pairs(labels));
        sample.set_histogram(histogram);
        self.push(metric, sample);
    }

    fn push(&mut self, metric: Metric, sample: prometheus::proto::Metric) {
        if let Some(family) = self.families.iter_mut().find(|f| f.name() == metric.name()) {
            family.mut_metric().push(sample);
        }
    }

    /// The text for Prometheus, with the process's own metrics.
    pub fn text(mut self) -> String {
        self.families.retain(|family| !family.get_metric().is_empty());
        self.families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.families, &mut text) {
            tracing::error!("metrics cannot be written: {error}");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Bounds in microseconds, all on edges of the tallies' buckets, so that folding is exact: powers of
/// two from 0.5 ms to 67 s, and the middles between them where services usually answer.
fn bounds() -> impl Iterator<Item = u64> {
    (9..=26).flat_map(|power: u32| {
        let middle = (13..=21).contains(&power).then_some(3u64 << (power - 1));
        std::iter::once(1u64 << power).chain(middle)
    })
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::histogram::{bucket_of, upper_bound};

    #[test]
    fn names_are_distinct_and_say_their_unit() {
        let names: BTreeSet<_> = Metric::ALL.iter().map(|m| m.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for metric in Metric::ALL {
            let (name, kind, help) = metric.spec();
            assert!(name.starts_with("lbd_") && help.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), kind == MetricType::COUNTER, "{name}");
        }
    }

    #[test]
    fn bounds_lie_on_bucket_edges_and_ascend() {
        let bounds: Vec<u64> = bounds().collect();
        assert!(bounds.is_sorted());
        for bound in bounds {
            assert_eq!(upper_bound(bucket_of(bound) - 1), bound - 1);
        }
    }

    #[test]
    fn a_scrape_reads_as_prometheus_wants_it() {
        let mut counts = Counts::default();
        counts.buckets[bucket_of(1_000)] = 3;
        counts.buckets[bucket_of(5_000)] = 1;
        counts.sum = 8_000;
        let mut exposition = Exposition::default();
        exposition.add(
            Metric::Requests,
            &[("service", "a\"b"), ("pool", "green"), ("code", "200")],
            4.0,
        );
        exposition.add_histogram(
            Metric::RequestDuration,
            &[("service", "a"), ("pool", "green")],
            &counts,
        );
        let text = exposition.text();
        for line in [
            "# TYPE lbd_requests_total counter",
            r#"lbd_requests_total{service="a\"b",pool="green",code="200"} 4"#,
            r#"lbd_request_duration_seconds_bucket{service="a",pool="green",le="0.001024"} 3"#,
            r#"lbd_request_duration_seconds_bucket{service="a",pool="green",le="+Inf"} 4"#,
            r#"lbd_request_duration_seconds_sum{service="a",pool="green"} 0.008"#,
            r#"lbd_request_duration_seconds_count{service="a",pool="green"} 4"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes "));
        assert!(!text.contains("lbd_revision"), "families without samples are left out");
    }
}
