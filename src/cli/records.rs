//! Reads the access log from a file or from stdin, line by line. Other lines, such as Envoy's own messages, are counted
//! and skipped.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::access_log::Record;

/// Name of stdin on the command line.
const STDIN: &str = "-";
/// Largest number of bytes of a line that can be a record; those of longer ones are not kept.
const LINE_BYTES: usize = 64 * 1024;

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordsError {
    #[error(
        "the access log {0} cannot be read: {1}; give the file of `vaultwall serve --access-log`, or - and the output \
         of `kubectl logs`"
    )]
    Read(String, #[source] io::Error),
    #[error(
        "{0} has no record of the access log, but {1}; give the file of `vaultwall serve --access-log`, or \
         - and the output of `kubectl logs`"
    )]
    NoRecords(String, String),
}

/// A log, from its beginning.
pub(super) struct Records {
    /// None: stdin.
    path: Option<PathBuf>,
    input: Box<dyn BufRead>,
    /// Number of the open file, to notice when it was rotated.
    inode: Option<u64>,
    /// Number of bytes that were read of it, to notice when it was emptied.
    position: u64,
    /// Beginning of a line whose end was not read yet.
    line: Vec<u8>,
    /// Number of records that were read.
    pub(super) read: u64,
    /// Number of other lines.
    pub(super) skipped: u64,
}

impl Records {
    pub(super) fn open(path: &Path) -> Result<Self, RecordsError> {
        let path = (path != Path::new(STDIN)).then(|| path.to_owned());
        let mut records = Self {
            path,
            input: Box::new(io::empty()),
            inode: None,
            position: 0,
            line: Vec::new(),
            read: 0,
            skipped: 0,
        };
        match records.path.clone() {
            None => records.input = Box::new(io::stdin().lock()),
            Some(path) => records
                .open_file(&path)
                .map_err(|error| records.error(error))?,
        }
        Ok(records)
    }

    fn open_file(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        self.inode = Some(file.metadata()?.ino());
        self.position = 0;
        self.input = Box::new(BufReader::new(file));
        Ok(())
    }

    /// Name of the log in messages.
    pub(super) fn name(&self) -> String {
        match &self.path {
            None => "stdin".to_owned(),
            Some(path) => path.display().to_string(),
        }
    }

    /// Whether the log can grow after its end was read.
    pub(super) fn can_grow(&self) -> bool {
        self.path.is_some()
    }

    fn error(&self, error: io::Error) -> RecordsError {
        RecordsError::Read(self.name(), error)
    }

    /// The next record whose line is complete, or none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record>, RecordsError> {
        loop {
            let (taken, is_whole) = {
                let bytes = match self.input.fill_buf() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(self.error(error)),
                    Ok(bytes) => bytes,
                };
                if bytes.is_empty() {
                    return Ok(None);
                }
                let (part, is_whole) = match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(end) => (bytes.get(..=end).unwrap_or_default(), true),
                    None => (bytes, false),
                };
                // One byte more than the limit shows that the line is too long.
                let room = (LINE_BYTES + 1).saturating_sub(self.line.len());
                self.line.extend(part.iter().take(room));
                (part.len(), is_whole)
            };
            self.input.consume(taken);
            self.position += taken as u64;
            if is_whole && let Some(record) = self.take_line() {
                return Ok(Some(record));
            }
        }
    }

    /// The record of the last line, if it has no line end.
    pub(super) fn rest(&mut self) -> Option<Record> {
        self.take_line()
    }

    fn take_line(&mut self) -> Option<Record> {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii();
        if text.is_empty() {
            return None;
        }
        // `kubectl logs --prefix` writes the pod's name in front of it.
        let start = text.iter().position(|byte| *byte == b'{');
        let json = start.and_then(|start| text.get(start..));
        let json = json.filter(|_| line.len() <= LINE_BYTES);
        let record = json.and_then(|json| serde_json::from_slice(json).ok());
        match record {
            Some(_) => self.read += 1,
            None => self.skipped += 1,
        }
        record
    }

    /// Opens the file that has this name now, if it is another one than that which was read to its end, or was emptied,
    /// as by `copytruncate` of logrotate. Returns whether it is.
    pub(super) fn was_rotated(&mut self) -> Result<bool, RecordsError> {
        let Some(path) = self.path.clone() else {
            return Ok(false);
        };
        match path.metadata() {
            Ok(found) if Some(found.ino()) != self.inode || found.len() < self.position => {
                self.line.clear();
                self.open_file(&path).map_err(|error| self.error(error))?;
                Ok(true)
            }
            // Between the renaming of the old file and the creation of the new one, there is none.
            _ => Ok(false),
        }
    }

    /// Checks, after the end, that this was an access log.
    pub(super) fn check(&self) -> Result<(), RecordsError> {
        if self.read == 0 && self.skipped > 0 {
            let lines = match self.skipped {
                1 => "1 other line".to_owned(),
                many => format!("{many} other lines"),
            };
            return Err(RecordsError::NoRecords(self.name(), lines));
        }
        Ok(())
    }

    /// Message about lines that are no records.
    pub(super) fn skipped_lines(&self) -> Option<String> {
        let name = self.name();
        match self.skipped {
            0 => None,
            1 => Some(format!(
                "{name}: 1 line is no record of the access log and was skipped\n"
            )),
            many => Some(format!(
                "{name}: {many} lines are no records of the access log and were skipped\n"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_emptied_is_read_from_its_beginning() {
        let line = |id: &str| {
            let time = "2026-11-22T18:30:00Z";
            format!(r#"{{"time":"{time}","vault":"v/o","listener":"data","decisionId":"{id}"}}"#)
                + "\n"
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, line("one") + &line("two")).unwrap();
        let mut records = Records::open(&path).unwrap();
        while records.next().unwrap().is_some() {}
        assert!(!records.was_rotated().unwrap());
        fs::write(&path, line("new")).unwrap();
        assert!(records.was_rotated().unwrap());
        let record = records.next().unwrap().unwrap();
        assert_eq!(record.decision_id.as_deref(), Some("new"));
        assert!(!records.was_rotated().unwrap());
    }
}
