//! Two sides, measured in turns.

use serde::{Deserialize, Serialize};

use super::{
    Broken,
    server::Server,
    side::{Service, Side},
    stats::{median, spread},
};

/// Which values are the good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Large ones.
    Higher,
    /// Small ones.
    Lower,
}

/// One figure, of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The median of twolane.
    pub ours: f64,
    /// The other side.
    pub peer: String,
    /// Its median.
    pub theirs: f64,
    /// `ours / theirs`.
    pub ratio: f64,
    /// What both are in.
    pub unit: String,
    /// Which values are the good ones.
    pub better: Better,
    /// How often each side was measured.
    pub rounds: usize,
    /// The middle half of each side's values as a part of its median; of the two, the larger.
    pub spread: f64,
}

impl Row {
    /// From the values of both sides.
    pub fn new(name: impl Into<String>, unit: &str, better: Better, peer: &str, values: &Values) -> Self {
        let (ours, theirs) = (median(&values.ours), median(&values.theirs));
        Self {
            name: name.into(),
            ours,
            peer: peer.to_owned(),
            theirs,
            ratio: if theirs == 0.0 { 0.0 } else { ours / theirs },
            unit: unit.to_owned(),
            better,
            rounds: values.ours.len(),
            spread: spread(&values.ours).max(spread(&values.theirs)),
        }
    }
}

/// What was measured on both sides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// twolane.
    pub ours: Vec<f64>,
    /// The other side.
    pub theirs: Vec<f64>,
}

/// A server and a client of both sides, connected.
#[derive(Debug)]
pub struct Pair<A: Side, B: Side> {
    /// twolane's server.
    pub our_server: Server,
    /// The other side's.
    pub their_server: Server,
    /// twolane's client.
    pub ours: A,
    /// The other side's.
    pub theirs: B,
}

impl<A: Side, B: Side> Pair<A, B> {
    /// Starts both, and connects them.
    pub async fn start() -> Result<Self, Broken> {
        let (our_server, their_server) = (Server::start::<A>().await?, Server::start::<B>().await?);
        let (ours, theirs) = (A::client(&our_server.address).await?, B::client(&their_server.address).await?);
        for service in [Service::Echo, Service::Bulk] {
            ours.connect(service).await?;
            theirs.connect(service).await?;
        }
        Ok(Self { our_server, their_server, ours, theirs })
    }

    /// Closes both.
    pub async fn close(self) {
        self.ours.close().await;
        self.theirs.close().await;
    }
}

/// Measures both sides so many times, in turns, each beginning as often as the other.
pub async fn in_turns<T>(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Result<T, Broken>,
    mut theirs: impl AsyncFnMut() -> Result<T, Broken>,
) -> Result<(Vec<T>, Vec<T>), Broken> {
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            of_ours.push(ours().await?);
            of_theirs.push(theirs().await?);
        } else {
            of_theirs.push(theirs().await?);
            of_ours.push(ours().await?);
        }
    }
    Ok((of_ours, of_theirs))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn sides_take_turns_at_going_first() {
        let order = RefCell::new(String::new());
        let note = |what| {
            order.borrow_mut().push(what);
            Ok(())
        };
        in_turns(4, async || note('o'), async || note('t')).await.unwrap();
        assert_eq!(*order.borrow(), "ottootto");
    }

    #[test]
    fn a_row_is_made_of_medians() {
        let values = Values { ours: vec![3.0, 1.0, 2.0], theirs: vec![4.0, 4.0, 400.0] };
        let row = Row::new("requests", "1/s", Better::Higher, "raw iroh", &values);
        assert_eq!((row.ours, row.theirs, row.ratio, row.rounds), (2.0, 4.0, 0.5, 3));
    }
}
