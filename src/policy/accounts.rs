//! Service accounts and their pods, as the index reports them to resolution. Pure.

use std::net::Ipv4Addr;

use super::identity::ObjectName;

/// An address of a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPod {
    /// Address of the pod.
    pub address: Ipv4Addr,
    /// Unique id of the pod; `None` if it is not known, or if several pods have the address.
    pub uid: Option<String>,
}

/// A service account that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExistingAccount {
    /// Unique id, which no later account of the same name has; `None` in a file without one.
    pub uid: Option<String>,
}

/// Source of service accounts, of the pods that run under them, and of subscriptions.
pub trait Accounts {
    /// Returns an account if it exists. Only tokens of this very account count.
    fn existing(&self, account: &ObjectName) -> Option<&ExistingAccount>;

    /// Returns the addresses of the pods that run under an account. An address that a pod under another account has too
    /// is not among them: the pod that sends from it is not known.
    fn pods_of(&self, account: &ObjectName) -> Vec<AccountPod>;

    /// Returns the subscription of a namespace; `None` without the label, and for a namespace that is not known.
    fn subscription_of(&self, namespace: &str) -> Option<&str>;

    /// Returns the namespaces of a subscription, sorted.
    fn namespaces_of(&self, subscription: &str) -> Vec<&str>;
}
