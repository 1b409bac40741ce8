//! What each part is worth. The table of CONGESTION.md is what
//! `TWOLANE_ABLATION=1 TWOLANE_RUNS=3 cargo test -p twolane --lib ablation -- --nocapture` prints.

use super::{
    super::simulation::{Link, Simulation},
    MS, Parts, SECOND,
    alone::alone,
    bbr3,
    beside::{after_cubic, beside},
    cubic, median, ours, seeds, setting, without,
};
use crate::congestion::simulation::Factory;

/// A row of the table, and its run, which returns one to three figures.
type Row = (&'static str, fn(u64, Factory) -> Vec<f64>);

const ROWS: [Row; 9] = [
    ("beside Cubic, 100 ms, 1 BDP: share", |seed, sender| beside_cubic(Link::new(20, 100 * MS, 1.0), seed, sender)),
    ("beside Cubic, 100 ms, 0.5 BDP: share", |seed, sender| beside_cubic(Link::new(20, 100 * MS, 0.5), seed, sender)),
    ("beside Cubic, 20 ms, 5 BDP: share", |seed, sender| beside_cubic(Link::new(20, 20 * MS, 5.0), seed, sender)),
    ("a second after Cubic, 100 ms, 5 BDP: share", |seed, sender| {
        let link = Link::new(20, 100 * MS, 5.0);
        vec![after_cubic(link, seed, sender).share(0, &link)]
    }),
    ("20 ms, 0.1 BDP: Cubic's share, % lost", |seed, sender| left_to_cubic(Link::new(20, 20 * MS, 0.1), seed, sender)),
    ("policer, 125 kB: Cubic's share, % lost", |seed, sender| {
        left_to_cubic(Link { policer: Some(125_000), ..Link::new(20, 50 * MS, 1.0) }, seed, sender)
    }),
    ("two alike, 50 ms, 1 BDP: Jain, queue ms", |seed, sender| {
        let seen = beside(Link::new(20, 50 * MS, 1.0), seed, sender.clone(), sender);
        vec![seen.fairness(), seen.queue(0.95).as_secs_f64() * 1e3]
    }),
    ("alone, 50 ms: clean, 3 % lost, 2 % reordered", |seed, sender| {
        let link = Link::new(20, 50 * MS, 1.0);
        let links = [link, Link { loss: 0.03, ..link }, Link { reorder: 0.02, ..link }];
        links.map(|link| alone(link, seed, sender.clone())).into()
    }),
    ("alone, 20 to 60 ms: share of the next 10 s", |seed, sender| {
        let link = Link::new(20, 20 * MS, 5.0);
        let mut simulation = Simulation::new(link, seed, sender);
        simulation.start(0);
        simulation.run(8 * SECOND);
        let longer = Link { round_trip: 60 * MS, ..link };
        simulation.change(longer);
        vec![simulation.see(10 * SECOND).share(0, &longer)]
    }),
];

fn beside_cubic(link: Link, seed: u64, sender: Factory) -> Vec<f64> {
    vec![beside(link, seed, sender, cubic()).share(0, &link)]
}

fn left_to_cubic(link: Link, seed: u64, sender: Factory) -> Vec<f64> {
    let seen = beside(link, seed, sender, cubic());
    vec![seen.share(1, &link), seen.loss(0) * 100.0]
}

/// Returns the medians of a row.
fn played(row: Row, sender: &dyn Fn() -> Factory) -> Vec<f64> {
    let runs: Vec<_> = seeds(1).map(|seed| row.1(seed, sender())).collect();
    let of = |at: usize| {
        let mut values: Vec<_> = runs.iter().map(|run| run[at]).collect();
        values.sort_unstable_by(f64::total_cmp);
        median(&values)
    };
    (0..runs[0].len()).map(of).collect()
}

#[test]
fn a_link_is_used_without_any_one_of_the_parts() {
    let rows = if setting("TWOLANE_ABLATION", 0) == 0 { &ROWS[..1] } else { &ROWS[..] };
    let parts =
        Parts::NAMES.map(|part| (format!("- {part}"), Box::new(move || without(part)) as Box<dyn Fn() -> Factory>));
    let whole: [(String, Box<dyn Fn() -> Factory>); 3] =
        [("all".into(), Box::new(ours)), ("BBR3".into(), Box::new(bbr3)), ("Cubic".into(), Box::new(cubic))];
    for row in rows {
        println!("| {} | |", row.0);
        for (name, sender) in whole.iter().chain(&parts) {
            let medians = played(*row, sender);
            println!(
                "|   {name} | {} |",
                medians.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(", ")
            );
            assert!(medians[0] > 0.01, "{}, {name}: {medians:?}", row.0);
        }
    }
}
