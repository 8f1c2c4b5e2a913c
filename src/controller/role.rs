//! Role of this replica: the leader reconciles, a follower reports its proxies to the leader.

use std::sync::Arc;

use tokio::sync::watch;

use crate::controller::account_labels;
use crate::controller::firewall;
use crate::controller::statuses::Reconciler;
use crate::controller::statuses::networks::Networks;
use crate::controller::statuses::services::Services;
use crate::runtime::leader::{Lost, State};
use crate::runtime::operations::Metrics;

/// Role of this replica, which follows the leader election.
pub(super) struct Role {
    /// State of the leader election.
    pub(super) state: watch::Receiver<State>,
    /// Address of the leader, to which this replica reports; none while it leads or no leader is known.
    pub(super) leader: watch::Sender<Option<String>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Role {
    /// Runs the reconcilers while this replica leads. Returns when the lease is lost.
    pub(super) async fn run(
        mut self,
        firewalls: &firewall::Reconciler,
        networks: &Reconciler<Networks>,
        services: &Reconciler<Services>,
        labels: &account_labels::Reconciler,
    ) -> Lost {
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
                        lost = firewalls.run(&term) => return lost,
                        lost = networks.run(&term) => return lost,
                        lost = services.run(&term) => return lost,
                        lost = labels.run(&term) => return lost,
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
