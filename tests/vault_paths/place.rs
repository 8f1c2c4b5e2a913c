//! The place of a listed path: the row of the table that a request for it matches.

use vaultwall::policy::{Engine, EngineNamespace, EngineType, VaultApi};
use vaultwall::vault_api::{Described, Profile, Request, Row, Table, classify};

use crate::vault_paths::list::{Listed, lines};

/// Mount paths of the lists, and the engines there. Auth methods are mounted under the name of their type.
const ENGINES: &[(&str, EngineType)] = &[
    ("secret", EngineType::KvV2),
    ("kv1", EngineType::KvV1),
    ("cubbyhole", EngineType::Cubbyhole),
    ("transit", EngineType::Transit),
    ("pki", EngineType::Pki),
    ("database", EngineType::Database),
];
/// Parameters that select the operation, with the value that stands for them.
const CHOICES: [(&str, &str); 1] = [("{plaintext}", "plaintext")];

impl Listed {
    /// Parses a line.
    fn parse(line: &str) -> Self {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [path, methods, token] = cells.as_slice() else {
            panic!("a line has three cells: {line}")
        };
        let listed = Self {
            path: (*path).to_owned(),
            methods: methods.split(' ').map(str::to_owned).collect(),
            token: *token == "token",
        };
        assert_eq!(listed.to_string(), line);
        listed
    }

    /// Returns the target of a request, with `value` for each parameter.
    pub fn target(&self, value: &str) -> String {
        String::from("/v1") + &self.filled(value)
    }

    /// Returns the path, with `value` for each parameter.
    pub fn filled(&self, value: &str) -> String {
        let chosen = CHOICES
            .iter()
            .fold(self.path.clone(), |path, (name, value)| {
                path.replace(name, value)
            });
        let mut filled = String::new();
        let mut rest = chosen.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            filled = filled + before + value;
            rest = after.split_once('}').unwrap().1;
        }
        filled + rest
    }
}

/// The paths of a list.
pub fn paths(name: &str) -> Vec<Listed> {
    lines(name).iter().map(|line| Listed::parse(line)).collect()
}

/// The table of a vault with the engines of the lists.
pub fn table() -> Table {
    let engines: Vec<Engine> = ENGINES
        .iter()
        .map(|(path, engine_type)| Engine {
            path: (*path).to_owned(),
            engine_type: *engine_type,
            namespace: EngineNamespace::Root,
        })
        .collect();
    let described = Described {
        engines: &engines,
        ..Described::default()
    };
    Table::new(Profile::of(VaultApi::OpenBao), &described)
}

/// The table of a vault with the API of Azure Key Vault.
pub fn azure_table() -> Table {
    Table::new(Profile::of(VaultApi::AzureKeyVault), &Described::default())
}

/// The row of the table for a request.
pub fn placed<'t>(table: &'t Table, method: &str, target: &str) -> &'t Row {
    let request = Request {
        method,
        target,
        namespace: None,
        has_body: false,
        several_tokens: false,
        announced: None,
    };
    classify(table, &request).unwrap_or_else(|error| panic!("{method} {target}: {error}"))
}
