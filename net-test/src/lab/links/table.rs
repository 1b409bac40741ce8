//! The links, and the promises for them.

use std::time::Duration;

use crate::lab::link::Shape;

/// A link that is the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The round-trip time in microseconds.
    pub rtt_us: u64,
    /// The rate in Mbit/s. Without one, the link takes what the machine can carry.
    pub mbit: Option<u64>,
    /// The number of lost packets of a thousand, in each direction.
    pub lost: u64,
}

/// The promises for a link. Ratios are of twolane to raw iroh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Promise {
    /// The minimum ratio for bulk data on one stream.
    pub bulk: f64,
    /// The minimum rate of a file from `sender` to `receiver`, as a share of the link's rate.
    pub file: Option<f64>,
    /// The maximum time to open a stream on a live connection, and for a request with early data, in round-trip
    /// times.
    pub round_trips: Option<f64>,
    /// The maximum 99th percentile of a hundred requests beside bulk data, in round-trip times.
    pub beside: Option<f64>,
}

impl Link {
    const fn new(rtt_ms: u64, mbit: u64, lost: u64) -> Self {
        Self { rtt_us: rtt_ms * 1000, mbit: Some(mbit), lost }
    }

    pub fn name(&self) -> String {
        let mut name = format!("{}ms", self.rtt_us as f64 / 1e3);
        if let Some(mbit) = self.mbit {
            name.push_str(&format!("-{mbit}mbit"));
        }
        if self.lost > 0 {
            name.push_str(&format!("-{}%", self.lost as f64 / 10.0));
        }
        name
    }

    pub fn rtt(&self) -> Duration {
        Duration::from_micros(self.rtt_us)
    }

    pub fn shape(&self) -> Shape {
        Shape {
            delay: self.rtt() / 2,
            loss: self.lost as f64 / 1000.0,
            rate: self.mbit.map(|mbit| mbit * 1_000_000),
            ..Shape::CABLE
        }
    }

    /// Returns the rate in bytes per second, or infinity without a rate.
    pub fn bytes(&self) -> f64 {
        self.mbit.map_or(f64::INFINITY, |mbit| mbit as f64 * 1e6 / 8.0)
    }

    pub fn promise(&self) -> Promise {
        // A lost packet costs a request the time until the loss is detected. With 5 % of losses in each direction,
        // one request in a hundred loses two packets in a row.
        let (lossless, rare) = (self.lost == 0, self.lost <= 10);
        Promise {
            bulk: match (self.rtt_us / 1000, self.mbit, self.lost) {
                (100, Some(500), 0) => 1.5,
                (20, Some(500), 1) | (100, Some(100), 10) => 10.0,
                _ => 0.95,
            },
            file: (*self == Self::new(100, 500, 0)).then_some(0.8),
            round_trips: (self.rtt_us == 100_000 && lossless).then_some(1.03),
            // Without a rate, the queue is that of the machine.
            beside: (rare && self.mbit.is_some()).then_some(3.0),
        }
    }
}

/// A switch. Its round-trip time is too long for the paths that twolane takes within one machine.
const NEAR: Link = Link { rtt_us: 300, mbit: None, lost: 0 };

/// The links of the table in the README.
pub const LINKS: &[Link] = &[
    Link::new(100, 500, 0),
    Link::new(20, 500, 1),
    Link::new(100, 100, 10),
    Link::new(20, 100, 0),
    Link::new(20, 10, 0),
    Link::new(20, 10, 10),
    Link::new(300, 100, 0),
    Link::new(300, 500, 10),
    NEAR,
];

/// Returns every combination.
pub fn all() -> Vec<Link> {
    let mut links = vec![NEAR];
    for rtt_ms in [20, 100, 300] {
        for mbit in [10, 100, 500] {
            for lost in [0, 1, 10, 50] {
                links.push(Link::new(rtt_ms, mbit, lost));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_of_the_promises_are_among_all() {
        let all = all();
        assert_eq!(all.len(), 37);
        for link in LINKS {
            assert!(all.contains(link), "{}", link.name());
        }
        let promised = |bulk: f64| all.iter().filter(|link| (link.promise().bulk - bulk).abs() < 1e-9).count();
        assert_eq!((promised(1.5), promised(10.0), promised(0.95)), (1, 2, 34));
    }

    #[test]
    fn a_link_is_called_what_it_is() {
        assert_eq!(Link::new(20, 500, 1).name(), "20ms-500mbit-0.1%");
        assert_eq!(Link::new(100, 100, 10).name(), "100ms-100mbit-1%");
        assert_eq!(Link::new(300, 10, 0).name(), "300ms-10mbit");
        assert_eq!(NEAR.name(), "0.3ms");
        assert_eq!(Link::new(100, 500, 0).shape().delay, Duration::from_millis(50));
    }
}
