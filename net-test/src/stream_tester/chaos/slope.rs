//! Checks whether memory grows with the number of cycles. Pure.

/// The heap that a cycle may leave behind on average, in bytes, in addition to that of restarts. 1.5 bytes were
/// measured, with 14 streams and requests in each cycle. The smallest object that is kept for a connection is a
/// peer table row with about 500 bytes. A stream has about 3 kB, and a connection about 60 kB.
pub const PER_CYCLE: f64 = 8.0;
/// The number of bytes that iroh keeps at a peer for each address of a key. On raw iroh 1.4.1, 430 to 450 bytes
/// were measured for a client that returns with its key from another port, as a restarted client does.
pub const PER_RESTART: f64 = 512.0;
/// The number of bytes by which the heap varies without growing, whatever the number of cycles: packets, timers and
/// tables of connections that QUIC keeps for a moment after they were closed. It matters only in short runs.
pub const NOISE: f64 = 256.0 * 1024.0;

/// The minimum number of samples of which the smallest is used. Memory that is held for a moment makes a sample
/// larger, and never smaller. On a machine that was busy with other tests, single samples were 600 kB above the
/// others.
const GROUP: usize = 3;
/// The maximum number of groups. More groups do not improve the line.
const GROUPS: usize = 5;

/// Returns the growth in bytes for each cycle, by least squares over the smallest samples of equal parts of the
/// run. Returns zero for fewer than two parts.
pub fn slope(samples: &[(u64, u64)]) -> f64 {
    let count = samples.len();
    // The sizes of the parts differ by at most one, so that the last part has the same weight as the others.
    let parts = (count / GROUP).clamp(2, GROUPS);
    let least = (0..parts)
        .filter_map(|n| samples[n * count / parts..(n + 1) * count / parts].iter().min_by_key(|(_, heap)| *heap));
    line(&least.copied().collect::<Vec<_>>())
}

fn line(samples: &[(u64, u64)]) -> f64 {
    let count = samples.len() as f64;
    let (cycles, heaps) =
        (samples.iter().map(|(cycle, _)| *cycle as f64), samples.iter().map(|(_, heap)| *heap as f64));
    let (mean_cycle, mean_heap) = (cycles.sum::<f64>() / count, heaps.sum::<f64>() / count);
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (cycle, heap) in samples {
        let away = *cycle as f64 - mean_cycle;
        covariance += away * (*heap as f64 - mean_heap);
        variance += away * away;
    }
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

/// Returns a description if the heap grows. The client is restarted in one of `restart_every` cycles.
pub fn grows(samples: &[(u64, u64)], restart_every: u64) -> Option<String> {
    let (Some((first, _)), Some((last, _))) = (samples.first(), samples.last()) else {
        return Some("the heap was not measured".into());
    };
    if samples.iter().any(|(_, heap)| *heap == 0) {
        return Some("the heap is not counted: the program has no counting allocator".into());
    }
    let (slope, cycles) = (slope(samples), (last - first) as f64);
    let allowed = PER_CYCLE + PER_RESTART / restart_every.max(1) as f64 + NOISE / cycles.max(1.0);
    (slope > allowed).then(|| {
        format!(
            "the heap grew by {slope:.0} bytes a cycle over {cycles:.0} cycles, and at most {allowed:.0} are explained"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(per_cycle: u64, noise: [u64; 2]) -> Vec<(u64, u64)> {
        (0..40).map(|n| (2_000 + n * 200, 5_000_000 + n * 200 * per_cycle + noise[n as usize % 2])).collect()
    }

    #[test]
    fn what_moves_up_and_down_does_not_grow() {
        let level = samples(0, [0, 200_000]);
        assert!(slope(&level).abs() < 20.0, "{}", slope(&level));
        assert_eq!(grows(&level, 20), None);
        assert_eq!(grows(&[(1, 7)], 20), None);
    }

    #[test]
    fn what_a_busy_machine_lets_go_of_late_does_not_grow_and_what_it_keeps_does() {
        let late = |kept: u64| {
            [0, 1, 0, 0, 1, 0, 1, 1, 0].iter().zip(0..).map(move |(late, n)| {
                let cycles = 10 + n * 5;
                (cycles, 8_400_000 + cycles * kept + late * 600_000)
            })
        };
        let grows = |kept| grows(&late(kept).collect::<Vec<_>>(), 20);
        assert_eq!(grows(0), None);
        // Only the last of 21 samples is larger.
        let last: Vec<_> = (0..21).map(|n| (200 + n * 40, 8_400_000 + if n == 20 { 600_000 } else { 0 })).collect();
        assert_eq!(slope(&last), 0.0);
        assert!(grows(10_000).unwrap().contains("over 40 cycles"), "{:?}", grows(10_000));
    }

    #[test]
    fn what_leaks_in_every_fourth_cycle_grows() {
        let leak = samples(500 / 4, [0, 50_000]);
        assert!(grows(&leak, 20).unwrap().contains("over 7800 cycles"), "{:?}", grows(&leak, 20));
        // The same amount is iroh's if the address is new in each of these cycles.
        assert_eq!(grows(&leak, 4), None);
    }

    #[test]
    fn a_heap_that_was_not_measured_is_no_proof() {
        assert!(grows(&[], 20).is_some());
        assert!(grows(&[(1, 5), (2, 0)], 20).is_some());
    }
}
