//! Comparison of two sides that are measured in turns.

use serde::{Deserialize, Serialize};

use crate::stats::{interval, median};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Higher,
    Lower,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub unit: String,
    pub better: Better,
    /// The name of the other side. If twolane is compared with itself, the name begins with "twolane".
    pub peer: String,
    /// The median of twolane's values over the turns.
    pub ours: f64,
    pub theirs: f64,
    /// The factor by which twolane was better: a value over 1 is in favour of twolane, whatever the unit. It is the
    /// median of the ratios of the turns, or `None` if it is infinite.
    pub advantage: Option<f64>,
    /// The bounds of the 95 % interval of the advantage. `None` for fewer than five turns.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// The number of turns. In each turn both sides were measured.
    pub rounds: usize,
    /// The reason why the row is void, if it is.
    pub void: Option<String>,
}

impl Row {
    /// Makes a row from `turns`, each of which has a value of twolane and a value of the other side.
    pub fn new(name: impl Into<String>, unit: &str, better: Better, peer: &str, turns: &[(f64, f64)]) -> Self {
        let ratios: Vec<f64> = turns
            .iter()
            .map(|(ours, theirs)| match better {
                _ if ours == theirs => 1.0,
                Better::Higher => ours / theirs,
                Better::Lower => theirs / ours,
            })
            .collect();
        let side = |pick: fn(&(f64, f64)) -> f64| median(&turns.iter().map(pick).collect::<Vec<_>>());
        let (low, high) = interval(&ratios).unzip();
        let finite = |value: &f64| value.is_finite();
        Self {
            name: name.into(),
            unit: unit.to_owned(),
            better,
            peer: peer.to_owned(),
            ours: side(|turn| turn.0),
            theirs: side(|turn| turn.1),
            advantage: Some(median(&ratios)).filter(|_| !ratios.is_empty()).filter(finite),
            low: low.filter(finite),
            high: high.filter(finite),
            rounds: turns.len(),
            void: None,
        }
    }

    /// Returns whether both sides are twolane.
    pub fn is_of_one_side(&self) -> bool {
        self.peer.starts_with("twolane")
    }
}

/// Measures both sides in turns. Each side goes first in half of the turns.
pub async fn in_turns<T, E>(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Result<T, E>,
    mut theirs: impl AsyncFnMut() -> Result<T, E>,
) -> Result<Vec<(T, T)>, E> {
    let mut turns = Vec::new();
    for round in 0..rounds {
        turns.push(if round % 2 == 0 {
            (ours().await?, theirs().await?)
        } else {
            let second = theirs().await?;
            (ours().await?, second)
        });
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, convert::Infallible};

    use super::*;

    #[tokio::test]
    async fn sides_take_turns_at_going_first_and_keep_their_places() {
        let order = RefCell::new(String::new());
        let note = |what| {
            order.borrow_mut().push(what);
            Ok::<_, Infallible>(what)
        };
        let turns = in_turns(4, async || note('o'), async || note('t')).await.unwrap();
        assert_eq!(*order.borrow(), "ottootto");
        assert_eq!(turns, [('o', 't'); 4]);
    }

    #[test]
    fn an_advantage_is_the_median_of_the_turns_and_not_the_ratio_of_the_medians() {
        let turns = [(1.0, 2.0), (3.0, 6.0), (4.0, 3.0)];
        let row = Row::new("requests", "1/s", Better::Higher, "raw iroh", &turns);
        assert_eq!((row.ours, row.theirs, row.advantage, row.rounds), (3.0, 3.0, Some(0.5), 3));
        assert_eq!((row.low, row.high), (None, None));
    }

    #[test]
    fn over_one_is_in_favour_of_twolane_whatever_the_unit() {
        let row = |better, ours| Row::new("x", "x", better, "raw iroh", &[(ours, 10.0); 5]);
        assert_eq!(row(Better::Higher, 20.0).advantage, Some(2.0));
        assert_eq!(row(Better::Lower, 5.0).advantage, Some(2.0));
        assert_eq!((row(Better::Lower, 5.0).low, row(Better::Lower, 5.0).high), (Some(2.0), Some(2.0)));
    }

    #[test]
    fn a_side_that_got_nothing_done_leaves_numbers_that_can_be_written() {
        let row = |ours, theirs| Row::new("x", "x", Better::Higher, "raw iroh", &[(ours, theirs)]).advantage;
        assert_eq!((row(1.0, 0.0), row(0.0, 1.0), row(0.0, 0.0)), (None, Some(0.0), Some(1.0)));
        assert_eq!(Row::new("x", "x", Better::Higher, "raw iroh", &[]).advantage, None);
    }
}
