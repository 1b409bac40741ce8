//! What is promised of each row, and why: the place to adjust after a measurement. Shares are of the link.

/// Beside one Cubic flow an equal share is 0.5. Half of that is what stock BBR3 and iroh's Cubic keep in the worst of these
/// buffers (0.23 to 0.55); below it a user notices that somebody else's download is there.
pub const BESIDE_CUBIC: f64 = 0.25;
/// What twolane adds to BBR3 may cost a fifth of what BBR3 gets; one run of BBR3 differs from the next by as much.
pub const TO_BBR3: f64 = 0.8;
/// Cubic beside iroh's Cubic keeps 0.47 and more; beside one BBR3 flow 0.5. Less than a third would be a neighbour's loss.
pub const CUBIC_KEEPS: f64 = 0.35;
/// With hardly a queue every BBR takes more than Cubic. Ours may not be worse than stock: a tenth is chance.
pub const CUBIC_KEEPS_TO_BBR3: f64 = 0.9;
/// The same for what is dropped: policers let an unadapted sender lose 4 % for ever, where stock loses 0.4 %.
pub const LOSS_TO_BBR3: f64 = 1.5;
/// A share of nothing is exceeded by one packet. So much loss is no harm to anybody.
pub const LOSS_THAT_IS_NONE: f64 = 0.001;
/// Beside BBR of the first version nobody gets much. It may not be less than with iroh's defaults.
pub const BESIDE_BBR_TO_IROH: f64 = 1.0;
/// Jain's index of two flows at 0.95 is 61 to 39.
pub const JAIN: f64 = 0.95;
/// The 95th percentile of the queue of our flows to that of iroh's: what a short queue is worth to calls beside them.
pub const QUEUE_TO_IROH: f64 = 0.5;
/// The queue has to run empty within 10 s, up to a share of the round trip, or flows that come take the queue for distance.
pub const LEAST_QUEUE: f64 = 0.05;
/// A flow that starts beside an established one has a fifth of the link within 10 s; with Cubic it takes up to 40.
pub const RISES_TO: f64 = 0.2;
pub const RISES_WITHIN_S: f64 = 10.0;
/// Downloads take no longer beside ours than beside iroh's; a twentieth is chance.
pub const WEB_TO_IROH: f64 = 1.05;
/// Overtaken packets cost nothing: iroh's Cubic fills the link.
pub const REORDERED_TO_IROH: f64 = 0.95;
/// After a change of the path the link is filled again as soon as ten round trips of the new one allow, and some more.
pub const BACK_TO: f64 = 0.8;
pub const BACK_WITHIN_S: f64 = 2.0;
/// A pause empties the link, and a queue of a round trip refills it: nothing else may be lost.
pub const OUTSIDE_OF_PAUSES: f64 = 0.97;
/// Alone on a link that is no cable. What is lost here is lost to nobody.
pub const ALONE_TO_IROH: f64 = 0.9;
/// With a queue for each flow nobody can take anything away: less than this would be our own fault.
pub const FAIR: f64 = 0.4;
