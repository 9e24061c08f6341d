//! The archive as the uplink sees it: retention keeps it, and neither room knows the other.

use std::io;

use crate::domain::{Epoch, Seq};
use crate::retention::Archived;
use crate::uplink::Archives;

/// The archived events of the node's store.
pub(super) struct Archive(pub(super) Archived);

impl Archives for Archive {
    fn count(&self, epoch: Epoch, from: Seq, to: Seq) -> io::Result<i64> {
        self.0.count(epoch, from, to)
    }

    fn after(&self, epoch: Epoch, after: Seq, upto: Seq, limit: usize) -> io::Result<Vec<(Seq, String)>> {
        self.0.after(epoch, after, upto, limit)
    }
}
