//! A replica's part: the leader writes, another one tells the leader what its own proxies say.

use std::sync::Arc;

use tokio::sync::watch;

use crate::controller::firewall::writer::Writer;
use crate::runtime::leader::{Lost, State};
use crate::runtime::operations::Metrics;

/// This replica's part: it writes as the leader, or tells the leader what its proxies say.
pub(super) struct Part {
    pub(super) state: watch::Receiver<State>,
    /// Where the leader hears what the proxies of this replica say.
    pub(super) leader: watch::Sender<Option<String>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Part {
    /// Until leadership is lost.
    pub(super) async fn take(mut self, writer: &Writer) -> Lost {
        loop {
            let state = self.state.borrow_and_update().clone();
            let leader = match &state {
                State::Following { address, .. } => Some(address.clone()),
                _ => None,
            };
            self.leader.send_replace(leader);
            self.metrics.set_leader(matches!(state, State::Leading(_)));
            match state {
                State::Unknown => {}
                State::Lost(lost) => return lost,
                State::Leading(term) => {
                    tracing::info!("this replica leads");
                    let mut state = self.state.clone();
                    tokio::select! {
                        lost = writer.run(&term) => return lost,
                        lost = lost(&mut state) => return lost,
                    }
                }
                State::Following { identity, .. } => {
                    tracing::info!("{identity} leads");
                }
            }
            if self.state.changed().await.is_err() {
                return Lost::Released;
            }
        }
    }
}

async fn lost(state: &mut watch::Receiver<State>) -> Lost {
    match state
        .wait_for(|state| matches!(state, State::Lost(_)))
        .await
    {
        Ok(state) => match &*state {
            State::Lost(lost) => lost.clone(),
            _ => Lost::Released,
        },
        Err(_) => Lost::Released,
    }
}
