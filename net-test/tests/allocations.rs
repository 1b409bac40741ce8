//! Counts the allocations of twolane. Times vary on a busy machine, and counts do not.
//!
//! The test does fixed work on one thread, with twolane and with raw iroh in one process. The difference is what
//! twolane adds.
#![expect(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::alloc::System;

use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use twolane_test::speed::{
    bulk::Load,
    ours::Ours,
    raw::Raw,
    side::{Service, Side},
    work,
};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 2_000;
const MEBIBYTES: u64 = 32;
/// The number of repetitions. A pause of the machine costs some packets more, and never fewer, so the repetition
/// with the lowest count is used.
const TIMES: usize = 5;

/// The heap cost of a request and of a MiB of bulk data, both ends together.
#[derive(Debug, Clone, Copy)]
struct Counts {
    request: Cost,
    mebibyte: Cost,
}

/// The heap cost of one request or one MiB.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// The number of allocations.
    new: f64,
    /// The number of requested bytes.
    bytes: f64,
}

impl Cost {
    fn of(region: &Region<'_, System>, times: f64) -> Self {
        let change = region.change();
        Self { new: change.allocations as f64 / times, bytes: change.bytes_allocated as f64 / times }
    }
}

async fn count<S: Side>() -> Counts {
    let (_server, address) = S::serve().await.unwrap();
    let client = S::client(&address).await.unwrap();
    for service in [Service::Echo, Service::Bulk] {
        client.connect(service).await.unwrap();
    }
    let message = Bytes::from_static(&[7; 64]);
    let load = |mebibytes| Load { up: mebibytes << 20, down: 0, check: false };
    // Warms up objects that are set up once, and tables that grow to their size.
    for _ in 0..REQUESTS / 4 {
        client.request(message.clone()).await.unwrap();
    }
    work::bulk(&client, 1, load(MEBIBYTES)).await.unwrap();

    let region = Region::new(HEAP);
    for _ in 0..REQUESTS {
        client.request(message.clone()).await.unwrap();
    }
    let request = Cost::of(&region, REQUESTS as f64);
    let mut mebibytes = Vec::new();
    for _ in 0..TIMES {
        let region = Region::new(HEAP);
        work::bulk(&client, 1, load(MEBIBYTES)).await.unwrap();
        mebibytes.push(Cost::of(&region, MEBIBYTES as f64));
    }
    let mebibyte = mebibytes.into_iter().min_by(|a, b| a.new.total_cmp(&b.new)).unwrap();
    client.close().await;
    Counts { request, mebibyte }
}

#[tokio::test]
async fn the_layer_allocates_little_more_than_what_it_stands_on() {
    let (ours, raw) = (count::<Ours>().await, count::<Raw>().await);
    let words = format!("of twolane {ours:.1?}, of raw iroh {raw:.1?}");
    println!("{words}");
    let more = |pick: fn(&Counts) -> f64| pick(&ours) - pick(&raw);
    // 2 were measured.
    assert!(more(|counts| counts.request.new) <= 3.0, "{words}");
    // 16 were measured: watermarks and their answers. While other programs use the processors, more packets come one
    // by one, and 37 were measured.
    assert!(more(|counts| counts.mebibyte.new) <= 45.0, "{words}");
    // A hundred bytes fewer for a request, and at most as many for a MiB.
    assert!(ours.request.bytes <= raw.request.bytes * 1.05, "{words}");
    assert!(ours.mebibyte.bytes <= raw.mebibyte.bytes * 1.2, "{words}");
}
