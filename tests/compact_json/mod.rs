//! JSON that is short, and whose difference can be read: one line for what fits in one, and for a route.

use serde_json::Value;

/// Widest line, but for routes and long texts.
const WIDTH: usize = 120;

/// Prints a value, with a line end.
pub fn print(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text + "\n"
}

fn write(value: &Value, indent: usize, text: &mut String) {
    let line = value.to_string();
    if indent + line.len() <= WIDTH || is_route(value) {
        text.push_str(&line);
        return;
    }
    match value {
        Value::Object(fields) => block(
            ['{', '}'],
            fields.iter().map(|(key, value)| (Some(key), value)),
            indent,
            text,
        ),
        Value::Array(values) => block(
            ['[', ']'],
            values.iter().map(|value| (None, value)),
            indent,
            text,
        ),
        _ => text.push_str(&line),
    }
}

fn block<'v>(
    [open, close]: [char; 2],
    entries: impl Iterator<Item = (Option<&'v String>, &'v Value)>,
    indent: usize,
    text: &mut String,
) {
    text.push(open);
    for (index, (key, value)) in entries.enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str(&" ".repeat(indent + 1));
        if let Some(key) = key {
            text.push_str(&Value::from(key.as_str()).to_string());
            text.push_str(": ");
        }
        write(value, indent + 1, text);
    }
    text.push('\n');
    text.push_str(&" ".repeat(indent));
    text.push(close);
}

fn is_route(value: &Value) -> bool {
    ["name", "match"].iter().all(|key| value.get(key).is_some())
}

#[test]
fn short_values_and_routes_are_lines_of_their_own() {
    let long = "x".repeat(WIDTH);
    let route = serde_json::json!({"name": "a", "match": {"prefix": long}});
    let value = serde_json::json!({"short": [1, {"a": 2}], "routes": [route], "long": [long]});
    let text = print(&value);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    assert_eq!(
        text.replace(&long, "x"),
        "{\n \"short\": [1,{\"a\":2}],\n \"routes\": [\n  {\"name\":\"a\",\"match\":{\"prefix\":\"x\"}}\n ],\n \
         \"long\": [\n  \"x\"\n ]\n}\n"
    );
}
