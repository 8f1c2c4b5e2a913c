//! Parser of the tables.

/// A row of a table.
pub struct Row {
    /// File and line, for messages.
    pub place: String,
    /// Cells without spaces at the ends; `-` for an empty one.
    pub cells: Vec<String>,
}

/// The rows of a file of `tests/decisions`, all of `columns` cells.
pub fn rows(file: &str, columns: usize) -> Vec<Row> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/decisions")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let rows: Vec<Row> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let place = format!("{file}:{}", index + 1);
            let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
            assert_eq!(cells.len(), columns, "{place}: number of columns");
            Row { place, cells }
        })
        .collect();
    assert!(!rows.is_empty(), "{file} has no rows");
    rows
}

/// A cell that may be `-`.
pub fn optional(cell: &str) -> Option<&str> {
    Some(cell).filter(|cell| *cell != "-")
}

/// `GET /path` as method and target; `{space}`, `{tab}` and `{bar}` in the target are characters that a table cannot
/// contain.
pub fn request(cell: &str) -> (String, String) {
    let (method, target) = cell.split_once(' ').unwrap_or((cell, ""));
    let target = target
        .replace("{space}", " ")
        .replace("{tab}", "\t")
        .replace("{bar}", "|");
    (method.to_owned(), target)
}
