//! Names of objects and of vaults, and the one place where they are read from a text.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Namespace and name of an object, written `NAMESPACE/NAME`.
///
/// A cluster-scoped object has an empty namespace and is written `NAME`; that form is not parsed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace of the object; empty for a cluster-scoped object.
    pub namespace: String,
    /// Name of the object, unique among the objects of its kind in this namespace.
    pub name: String,
}

impl ObjectName {
    /// Name of a cluster-scoped object.
    pub fn cluster_scoped(name: impl Into<String>) -> Self {
        Self {
            namespace: String::new(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// A text that is not the name of a namespaced object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write NAMESPACE/NAME, for example build/runner-1")]
pub struct ObjectNameError;

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        let (namespace, name) = namespace_and_name(text).ok_or(ObjectNameError)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// The vault: a Service in Kubernetes, written `NAMESPACE/SERVICE`. The same text names the vault's xDS node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultId {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
}

impl VaultId {
    /// Name of the vault's Service.
    pub fn service_name(&self) -> ObjectName {
        ObjectName {
            namespace: self.namespace.clone(),
            name: self.service.clone(),
        }
    }
}

impl From<ObjectName> for VaultId {
    /// The vault of a Service.
    fn from(service: ObjectName) -> Self {
        Self {
            namespace: service.namespace,
            service: service.name,
        }
    }
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)
    }
}

/// A text that is not the name of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write NAMESPACE/SERVICE, for example vault/openbao")]
pub struct VaultIdError;

impl FromStr for VaultId {
    type Err = VaultIdError;

    fn from_str(text: &str) -> Result<Self, VaultIdError> {
        let (namespace, service) = namespace_and_name(text).ok_or(VaultIdError)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
        })
    }
}

/// Both parts of `NAMESPACE/NAME`, neither empty.
fn namespace_and_name(text: &str) -> Option<(&str, &str)> {
    text.split_once('/').filter(|(namespace, name)| {
        !namespace.is_empty() && !name.is_empty() && !name.contains('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_written_is_read_back() {
        for text in ["vault/openbao", "a/b.c"] {
            assert_eq!(
                text.parse::<ObjectName>().map(|name| name.to_string()),
                Ok(text.to_owned())
            );
            assert_eq!(
                text.parse::<VaultId>().map(|vault| vault.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(ObjectName::cluster_scoped("shop").to_string(), "shop");
    }

    #[test]
    fn a_text_without_exactly_two_parts_is_no_name() {
        for text in ["", "openbao", "/", "vault/", "/openbao", "vault/openbao/1"] {
            assert_eq!(text.parse::<ObjectName>(), Err(ObjectNameError), "{text}");
            assert_eq!(text.parse::<VaultId>(), Err(VaultIdError), "{text}");
        }
    }
}
