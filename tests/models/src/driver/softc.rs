// SPDX-License-Identifier: BSD-2-Clause
//! The data of the interface: a number that is gone when it is dropped.

use crate::atomic::Content;

pub(crate) struct Softc {
    pub(crate) content: Content,
    pub(crate) ifp: Ifnet,
}

pub(crate) struct Ifnet;

impl Ifnet {
    pub(crate) fn is_in_cloner_list(&self) -> bool {
        true
    }
}

impl Softc {
    pub(crate) fn new() -> Softc {
        let content = Content::new(0);
        content.write(1);
        Softc { content, ifp: Ifnet }
    }
}

impl Drop for Softc {
    fn drop(&mut self) {
        self.content.write(0);
    }
}
