//! Random keys that can be reproduced.

use twolane::SecretKey;

/// Keys from a seed, which is printed if a scene fails. `TWOLANE_SEED` sets it.
pub(crate) struct Keys(u64);

impl Keys {
    pub(crate) fn new() -> Self {
        let given = std::env::var("TWOLANE_SEED").ok();
        let seed = given.map_or_else(random, |seed| seed.parse().expect("TWOLANE_SEED is a number"));
        eprintln!("TWOLANE_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> SecretKey {
        let mut bytes = [0; 32];
        for eight in bytes.chunks_exact_mut(8) {
            eight.copy_from_slice(&self.split_mix().to_le_bytes());
        }
        SecretKey::from_bytes(&bytes)
    }

    /// Draws the next number of SplitMix64.
    fn split_mix(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn random() -> u64 {
    u64::from_le_bytes(SecretKey::generate().to_bytes()[..8].try_into().expect("eight bytes"))
}
