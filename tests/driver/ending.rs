//! Ctrl-C and SIGTERM as something to wait for, so that everything started can be stopped in order.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

/// Whether this program was told to end.
pub(crate) struct Ending(Arc<(Mutex<bool>, Condvar)>);

impl Ending {
    /// From now on the signals don't end the process any more.
    ///
    /// # Errors
    /// When the signals can't be caught.
    pub(crate) fn listen() -> anyhow::Result<Ending> {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let told = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        drop(guard);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            println!("\nTold to end.");
            *told.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            told.1.notify_all();
        });
        Ok(Ending(shared))
    }

    /// Whether a signal has come.
    pub(crate) fn asked(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once a signal has come.
    pub(crate) fn wait(&self) {
        let mut told = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*told {
            told = self.0.1.wait(told).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
