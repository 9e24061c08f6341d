//! Where the screen is for somebody who is not at this machine.

use std::net::SocketAddr;

/// The line that brings a screen which is for this machine alone to another one; none when it can be reached from elsewhere, or
/// nowhere at all. `who`: the user and the host that are called, as in `pi@gateway`.
#[must_use]
pub fn tunnel(bound: &[SocketAddr], who: &str) -> Option<String> {
    let is_here = bound.iter().all(|at| at.ip().to_canonical().is_loopback());
    let at = bound.first().filter(|_| is_here)?;
    Some(format!("ssh -L {}:{at} {who}", at.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_screen_that_is_for_this_machine_alone_is_brought_by_a_tunnel() {
        let of = |all: &[&str]| tunnel(&all.iter().map(|at| at.parse().unwrap()).collect::<Vec<_>>(), "pi@gateway");
        assert_eq!(of(&["127.0.0.1:8080"]).as_deref(), Some("ssh -L 8080:127.0.0.1:8080 pi@gateway"));
        assert_eq!(of(&["[::1]:80", "127.0.0.1:81"]).as_deref(), Some("ssh -L 80:[::1]:80 pi@gateway"));
        assert_eq!(of(&["127.0.0.1:8080", "10.0.0.5:8080"]), None);
        assert_eq!(of(&["0.0.0.0:8080"]), None);
        assert_eq!(of(&[]), None);
    }
}
