//! The promises for each row, with their reasons. This is the place to adjust after a measurement. Shares are of the
//! link.

/// The minimum share of twolane beside one Cubic flow. An equal share is 0.5. Half of it is what stock BBR3 and
/// iroh's Cubic keep in the worst of these buffers (0.23 to 0.55). With less, a user notices another user's download.
pub const BESIDE_CUBIC: f64 = 0.25;
/// The minimum rate of twolane relative to stock BBR3. The additions of twolane to BBR3 may cost a fifth of BBR3's
/// rate. Two runs of BBR3 differ by as much.
pub const TO_BBR3: f64 = 0.8;
/// The minimum share of a Cubic flow beside twolane. Cubic keeps 0.47 and more beside iroh's Cubic, and 0.5 beside
/// one BBR3 flow. Less than a third would harm the neighbour.
pub const CUBIC_KEEPS: f64 = 0.35;
/// The minimum rate of a Cubic flow beside twolane, relative to its rate beside stock BBR3, with hardly a queue.
/// Every BBR takes more than Cubic there. twolane may not be worse than stock BBR3. A tenth is chance.
pub const CUBIC_KEEPS_TO_BBR3: f64 = 0.9;
/// The maximum loss of twolane, relative to that of stock BBR3. At policers a sender that does not adapt loses 4 %
/// forever, where stock BBR3 loses 0.4 %.
pub const LOSS_TO_BBR3: f64 = 1.5;
/// The loss share up to which a flow counts as lossless. Without it, a single packet would exceed any multiple of
/// zero. This loss harms no flow.
pub const LOSS_THAT_IS_NONE: f64 = 0.001;
/// The minimum rate of twolane beside BBR of the first version, relative to iroh's defaults. No flow gets much beside
/// that BBR.
pub const BESIDE_BBR_TO_IROH: f64 = 1.0;
/// The minimum of Jain's index. For two flows, 0.95 means shares of 61 and 39 %.
pub const JAIN: f64 = 0.95;
/// The maximum 95th percentile of twolane's queue, relative to that of iroh. Calls beside the flows profit from a
/// short queue.
pub const QUEUE_TO_IROH: f64 = 0.5;
/// The maximum of the least queue in each 10 s, as a share of the round-trip time. If the queue does not run empty,
/// new flows take it for a part of the distance.
pub const LEAST_QUEUE: f64 = 0.05;
/// The share that a flow has to reach within [`RISES_WITHIN_S`] when it starts beside an established one. With Cubic
/// this takes up to 40 s.
pub const RISES_TO: f64 = 0.2;
pub const RISES_WITHIN_S: f64 = 10.0;
/// The maximum time of downloads beside twolane, relative to that beside iroh. A twentieth is chance.
pub const WEB_TO_IROH: f64 = 1.05;
/// The minimum rate of twolane with reordered packets, relative to iroh's Cubic, which fills the link. Packets that
/// are overtaken should cost nothing.
pub const REORDERED_TO_IROH: f64 = 0.95;
/// The share of the link that a flow has to reach within [`BACK_WITHIN_S`] after a change of the path. That time is
/// ten round trips of the new path, and a margin.
pub const BACK_TO: f64 = 0.8;
pub const BACK_WITHIN_S: f64 = 2.0;
/// The minimum rate outside of pauses, as a share of the link. A pause empties the link, and a queue of one round
/// trip refills it. Nothing else may be lost.
pub const OUTSIDE_OF_PAUSES: f64 = 0.97;
/// The minimum rate of twolane alone on a link that is no cable, relative to iroh. No other flow can use what is lost
/// here.
pub const ALONE_TO_IROH: f64 = 0.9;
/// The minimum share of twolane with a queue for each flow. No flow can take anything away there, so a smaller share
/// would be the fault of twolane.
pub const FAIR: f64 = 0.4;
