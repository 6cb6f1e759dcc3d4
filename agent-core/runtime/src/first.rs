//! Is the first of AM's servers back?
//!
//! Calls that fail move on to the next server of `naming.url` by themselves; nothing would ever lead back.
//! Each worker looks for itself, anonymously and seldom. Must not say anything of AM to others: that is the
//! breaker's.

use std::{rc::Rc, time::Duration};

use tokio::time::Instant;

use crate::{
    client::{Call, Permit},
    fetch::Fetcher,
    lines::Line,
};
use portcullis_engine::event::Code;

/// What the question may take.
const PATIENCE: Duration = Duration::from_millis(1_500);

impl Fetcher {
    /// Looks, when it is time (`poll.primary.server`).
    pub(crate) fn look_for_first(self: &Rc<Self>) {
        if !self.am.is_elsewhere() {
            self.left_first.set(None);
            return;
        }
        let now = Instant::now();
        let Some(since) = self.left_first.get() else {
            self.left_first.set(Some(now));
            return;
        };
        let minutes = self
            .instance()
            .snapshot()
            .map_or(0, |snapshot| snapshot.config.poll_primary);
        if minutes == 0 || now - since < Duration::from_secs(60) * minutes {
            return;
        }
        self.left_first.set(Some(now));
        let fetcher = self.clone();
        tokio::task::spawn_local(async move {
            let call = Call {
                permit: Permit::Probe,
                until: Instant::now() + PATIENCE,
            };
            if fetcher.am.back_to_first(call).await {
                let line = Line::log(Code::FirstAmBack, String::new());
                fetcher.worker.write(fetcher.index, line);
            }
        });
    }
}
