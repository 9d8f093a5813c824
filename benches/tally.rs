//! What it costs to count a request: its status, its duration, its time to the first byte.
//!
//! Target: below 30 ns.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lbd::tally::{PoolCell, PoolTally};

fn count(cell: &PoolCell, status: u16, [first_byte, duration]: [u64; 2]) {
    cell.code(status);
    cell.finished.add(1);
    cell.durations.record(duration);
    cell.first_bytes.record(first_byte);
}

fn record(criterion: &mut Criterion) {
    let tally = PoolTally::new(1);
    let mut group = criterion.benchmark_group("tally");
    group.bench_function("the same again", |bencher| {
        bencher.iter(|| count(tally.cell(0), black_box(200), black_box([1_800, 2_100])));
    });
    // Durations from 1 µs to a second, so that no bucket stays in the nearest cache for long.
    let mut micros: u64 = 1;
    group.bench_function("all durations", |bencher| {
        bencher.iter(|| {
            micros = micros.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let duration = 1 << (micros >> 60) | (micros >> 44 & 0xffff);
            count(tally.cell(0), black_box(200), black_box([duration / 2, duration]));
        });
    });
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
