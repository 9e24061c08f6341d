//! A file, read once to its end.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::conn::io_text;
use super::open::{Gone, Source, Trouble};
use super::pulse::Pulse;
use super::{CHUNK_MAX, Conn, Lost};

/// Reads the file from its beginning: `Eof` is its end.
pub(super) async fn pass(source: &Source, pulse: &Pulse, path: &Path) -> Result<Lost, Trouble> {
    let wanted = path.to_owned();
    let opened = pulse.wait(spawn_blocking(move || open(&wanted)), None).await;
    let file = match opened {
        Some(Ok(Ok(file))) => file,
        Some(Ok(Err(error))) => return Err(trouble(path, &error)),
        _ => return Err(Trouble::absent("the open did not end", "See the log.")),
    };
    let conn = source.next_conn();
    let read = async {
        source.opened(pulse, conn, None, None).await?;
        let why = read(source, pulse, conn, file).await?;
        source.lost(pulse, conn, why).await
    };
    Ok(read.await.unwrap_or(Lost::Stopped))
}

/// Opened without blocking: a pipe would wait for its writer. Only a regular file has an end to be read to.
fn open(path: &PathBuf) -> std::io::Result<File> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(ErrorKind::InvalidInput.into()) }
}

fn trouble(path: &Path, error: &std::io::Error) -> Trouble {
    let text = format!("{}: {}", path.display(), io_text(error));
    match error.kind() {
        ErrorKind::PermissionDenied => {
            Trouble::permission(text, format!("Let the user waypost read {}.", path.display()))
        }
        ErrorKind::InvalidInput => {
            Trouble::absent(text, format!("{} is no regular file; a device is named without file://.", path.display()))
        }
        _ => Trouble::absent(text, format!("Check the file {}.", path.display())),
    }
}

/// Each read is a short job of a blocking thread: a card that stalls stops this source, not its neighbours.
async fn read(source: &Source, pulse: &Pulse, conn: Conn, mut file: File) -> Result<Lost, Gone> {
    let mut buf = vec![0; CHUNK_MAX];
    loop {
        if pulse.stop.is_cancelled() {
            return Ok(Lost::Stopped);
        }
        let job = spawn_blocking(move || {
            let got = file.read(&mut buf);
            (file, buf, got)
        });
        let Some(Ok(done)) = pulse.wait(job, None).await else {
            return Ok(Lost::Io("the read did not end".to_owned()));
        };
        let got;
        (file, buf, got) = done;
        match got {
            Ok(0) => return Ok(Lost::Eof),
            Ok(n) => {
                pulse.working().await;
                let rest = source.bytes(pulse, conn, &buf[..n], source.clock.now(), None, false).await?;
                pulse.rest(rest).await;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Ok(Lost::Io(io_text(&error))),
        }
    }
}
