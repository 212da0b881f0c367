//! A guest that has been described, with what it keeps between batches.

use crate::edits::{EditTables, Edits};
use crate::updates::{UpdateTables, Updates};
use crate::verdicts::{VerdictTables, Verdicts};
use crate::{Batch, Guest, Manifest, Meter, Parser, Router};

#[derive(Debug)]
pub(crate) struct Running<G> {
    guest: G,
    /// How large the tables of the last batch became.
    sizes: [usize; 5],
    updates: Updates,
}

impl<G: Guest> Running<G> {
    pub(crate) fn start(config: &str) -> Result<(Self, Manifest), String> {
        let (guest, manifest) = G::describe(config)?;
        Ok((Self { guest, sizes: [0; 5], updates: Updates::new() }, manifest))
    }
}

impl<G: Parser> Running<G> {
    pub(crate) fn parse(&mut self, batch: Batch<'_>) -> Result<EditTables, String> {
        let mut edits = Edits::with_tables(batch, EditTables::with_room(self.sizes));
        self.guest.parse(&batch, &mut edits)?;
        let tables = edits.finish();
        self.sizes = tables.sizes();
        Ok(tables)
    }
}

impl<G: Router> Running<G> {
    pub(crate) fn route(&mut self, batch: Batch<'_>) -> Result<VerdictTables, String> {
        let mut verdicts = Verdicts::new(batch);
        self.guest.route(&batch, &mut verdicts)?;
        Ok(verdicts.finish())
    }
}

impl<G: Meter> Running<G> {
    pub(crate) fn measure(&mut self, batch: Batch<'_>) -> Result<UpdateTables, String> {
        let measured = self.guest.measure(&batch, &mut self.updates);
        if measured.is_err() {
            self.updates.reset();
        }
        measured.map(|()| self.updates.finish())
    }
}
