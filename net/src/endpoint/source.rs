//! Where connections come from, and how many from where. Pure.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
};

use iroh::EndpointId;

/// Where a handshake comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// An address; of an IPv6 address the network, since whoever has one address has its whole /64.
    Ip(IpAddr),
    /// A peer that the relay has authenticated.
    Relayed(EndpointId),
    /// A transport of another kind, all of it.
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

/// Sources of which one attacker can have any number. Together they take half of the places: the others are for everybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Keys are free, and a relay vouches for no more than the key.
    Relayed,
    /// A /48 of IPv6, which providers give to one customer, and which has 65,536 networks.
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

/// How many there are from each source, and of each class.
#[derive(Debug, Default)]
pub(super) struct Counts {
    sources: HashMap<Source, usize>,
    classes: HashMap<Class, usize>,
}

impl Counts {
    /// From this source, and of its class: none where it has none.
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
