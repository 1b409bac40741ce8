//! The sources of connections, and the number of connections from each source. Pure.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
};

use iroh::EndpointId;

/// The source of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// An IP address. For IPv6 it is the /64 network, because the owner of one address has the whole /64.
    Ip(IpAddr),
    /// A peer that the relay has authenticated.
    Relayed(EndpointId),
    /// Any other transport; all of it is one source.
    Other,
}

impl Source {
    pub(super) fn ip(addr: IpAddr) -> Self {
        Self::Ip(match addr.to_canonical() {
            IpAddr::V6(addr) => {
                let network = u128::from(addr) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 => v4,
        })
    }
}

/// A group of sources of which one attacker can have any number. Together they get only a part of the places (half
/// of the handshakes, three quarters of the peers); the rest is for all other sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Peers behind relays: keys are free, and a relay vouches for nothing but the key.
    Relayed,
    /// A /48 of IPv6, which providers assign to one customer. It has 65,536 networks.
    Site([u8; 6]),
}

impl Source {
    pub(super) fn class(&self) -> Option<Class> {
        match self {
            Self::Ip(IpAddr::V6(addr)) => addr.octets().first_chunk().copied().map(Class::Site),
            Self::Relayed(_) => Some(Class::Relayed),
            Self::Ip(IpAddr::V4(_)) | Self::Other => None,
        }
    }
}

/// The number of entries from each source, and of each class.
#[derive(Debug, Default)]
pub(super) struct Counts {
    sources: HashMap<Source, usize>,
    classes: HashMap<Class, usize>,
}

impl Counts {
    /// Returns the number from this source, and the number of its class (0 if the source has no class).
    pub(super) fn of(&self, source: Source) -> (usize, usize) {
        let of_class = source.class().and_then(|class| self.classes.get(&class)).copied().unwrap_or_default();
        (self.sources.get(&source).copied().unwrap_or_default(), of_class)
    }

    pub(super) fn add(&mut self, source: Source) {
        *self.sources.entry(source).or_default() += 1;
        if let Some(class) = source.class() {
            *self.classes.entry(class).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, source: Source) {
        uncount(&mut self.sources, source);
        if let Some(class) = source.class() {
            uncount(&mut self.classes, class);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.classes.is_empty()
    }
}

fn uncount<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}
