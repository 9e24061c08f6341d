//! A capture as the bytes that it holds: what `waypost capture` wrote is decoded like a log.

use std::io::{self, BufRead, BufReader, Read};

use super::scan::script::{Step, is_head, read_step};

/// The longest line of a capture. Unit: bytes.
const LINE_MAX: u64 = 1 << 20;

/// The bytes of an input: of a capture those that its lines hold, of anything else all as they are.
///
/// # Errors
/// The input cannot be read. Later, from the reader: a line is none of a capture's, or longer than a MiB.
pub fn bytes_of<'a>(input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut input = BufReader::new(input);
    // One read may bring less than the first line has; `read_until` brings all of it, and it is put back.
    let mut first = Vec::new();
    if input.fill_buf()?.first() == Some(&b'{') {
        input.by_ref().take(LINE_MAX).read_until(b'\n', &mut first)?;
    }
    if is_head(&first) {
        return Ok(Box::new(Steps { input, line: 1, bytes: io::Cursor::default() }));
    }
    Ok(Box::new(io::Cursor::new(first).chain(input)))
}

/// The steps of a capture behind its first line.
struct Steps<R> {
    input: R,
    line: u64,
    bytes: io::Cursor<Vec<u8>>,
}

impl<R: BufRead> Read for Steps<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.bytes.read(into)?;
            if n > 0 || into.is_empty() {
                return Ok(n);
            }
            let mut text = Vec::new();
            if self.input.by_ref().take(LINE_MAX).read_until(b'\n', &mut text)? == 0 {
                return Ok(0);
            }
            self.line += 1;
            if text.trim_ascii().is_empty() {
                continue;
            }
            let fault = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
            let (_, step) = read_step(&text).map_err(|what| fault(format!("line {}: {what}", self.line)))?;
            if let Step::Bytes(bytes) = step {
                self.bytes = io::Cursor::new(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes_of(text)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_capture_gives_the_bytes_of_its_lines_and_anything_else_itself() {
        let capture =
            b"{\"capture\":1}\n[0,\"$GP\"]\n[5,{\"port\":\"lost\"}]\n\n[7,{\"left_out\":9}]\n[9,\"\\\\xb5\\\\r\\\\n\"]\n";
        assert_eq!(read(capture).unwrap(), b"$GP\xb5\r\n");
        for plain in [&b""[..], b"$GPRMC\r\n", b"{\"class\":\"TPV\"}\n[1,2]\n", b"{", b"{\"capture"] {
            assert_eq!(read(plain).unwrap(), plain);
        }
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let error = read(b"{\"capture\":1}\n[0,\"a\"]\n[0,7]\n").unwrap_err();
        assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().starts_with("line 3: 7 "), "{error}");
    }
}
