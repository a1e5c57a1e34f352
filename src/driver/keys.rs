// SPDX-License-Identifier: BSD-2-Clause
//! The keys that frames are tagged with. C stores them for each vnet, so that they survive
//! the interface; the interface has a copy, which a mutex protects.

use crate::driver::storage;
use crate::engine::agreement::{Key, Keys, KEY_LEN};
use core::hint::black_box;

/// No key.
const NONE: Key = [0; KEY_LEN];

/// The two keys. Dropping a copy wipes it.
#[derive(Clone)]
pub(crate) struct KeyPair([Key; 2]);

impl KeyPair {
    /// A copy of what is stored for the current vnet.
    ///
    /// # Safety
    ///
    /// No other thread stores keys: the interface is being made.
    pub(crate) unsafe fn stored() -> KeyPair {
        // SAFETY: the storage lives as long as the vnet, and the caller keeps the rule above.
        KeyPair(unsafe { *storage::keys() })
    }

    /// Stores the keys for the current vnet.
    ///
    /// # Safety
    ///
    /// No other thread reads or stores keys: the configuration is locked, or there is no
    /// interface and never will be.
    pub(crate) unsafe fn store(&self) {
        // SAFETY: as in `stored`.
        unsafe { *storage::keys() = self.0 };
    }

    /// No keys.
    pub(crate) const fn none() -> KeyPair {
        KeyPair([NONE; 2])
    }

    /// Replaces one of the keys: the first, which frames are tagged with, or the other. If the
    /// other becomes the first, they change places, so that the tags of both stay right.
    pub(crate) fn set(&mut self, is_first: bool, key: Option<Key>) {
        let [first, also] = &mut self.0;
        match key {
            Some(key) if is_first && key == *also => core::mem::swap(first, also),
            _ => *(if is_first { first } else { also }) = key.unwrap_or(NONE),
        }
    }

    /// The keys, if they are set.
    pub(crate) fn keys(&self, is_required: bool) -> Keys<'_> {
        let [key, also] = self.0.each_ref().map(|key| Some(key).filter(|key| **key != NONE));
        Keys { key, also, is_required }
    }
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.0 = [NONE; 2];
        // The compiler must not leave that out.
        black_box(&self.0);
    }
}

/// Reads a key that an operator wrote: 64 hexadecimal digits, or nothing for no key. The
/// outer `None` stands for anything else, and for zeroes.
pub(crate) fn parse(text: &[u8]) -> Option<Option<Key>> {
    if text.is_empty() {
        return Some(None);
    }
    let mut key = NONE;
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != KEY_LEN || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    (key != NONE).then_some(Some(key))
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
