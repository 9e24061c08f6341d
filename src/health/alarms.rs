//! Every alarm there is: its name, how bad it can be, what it means and what to do. The list is closed: the board takes no other,
//! and `docs/operating/alarms.md` is told from it.

use super::Severity;

/// One kind of alarm.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name; the last level of its topic.
    pub name: &'static str,
    /// How bad it is at its worst.
    pub worst: Severity,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Alarms of inputs are one a source: this and its id in lower case.
pub const SOURCE: &str = "source_";
/// No receiver has given a position for long, though its port is open.
pub const STALE_FIX: &str = "stale_fix_";
/// The ledger does not balance.
pub const LEDGER: &str = "ledger";
/// What waits for the platform grows.
pub const BACKLOG: &str = "backlog";
/// The platform has been away for long.
pub const UPLINK_DOWN: &str = "uplink_down";
/// Nothing vouches for the time.
pub const CLOCK: &str = "clock_untrusted";
/// Old events wait for the centre's confirmation.
pub const UNCONFIRMED: &str = "unconfirmed";
/// A worker was restarted again and again.
pub const WORKER: &str = "worker_restarts";
/// The process ended and was started again.
pub const RESTARTED: &str = "restarted";
/// The node's runs did not last: parts of it are off.
pub const SAFE_MODE: &str = "safe_mode";
/// The screen does not answer the node itself.
pub const SCREEN: &str = "screen_silent";
/// The store does not commit, or takes long.
pub const CANARY: &str = "canary";
/// The high-water mark of the store cannot be written.
pub const HIGH_WATER_MARK: &str = "high_water_mark";
/// The reserve for a full disk cannot be laid.
pub const RESERVE: &str = "reserve";
/// The store's file is damaged.
pub const CORRUPTION: &str = "corruption";

const fn kind(name: &'static str, worst: Severity, meaning: &'static str, remedy: &'static str) -> Kind {
    Kind { name, worst, meaning, remedy }
}

/// A certificate in use ends soon, or has ended.
pub const CERTIFICATE: &str = "certificate_ends";
/// The broker takes too little for any event.
pub const BROKER_LIMITS: &str = "broker_limits";
/// The broker brings no commands.
pub const COMMANDS: &str = "commands_refused";
/// No TLS with the broker.
pub const TLS: &str = "tls";

/// The list, by name.
pub const ALARMS: &[Kind] = &[
    kind(
        BACKLOG,
        Severity::Warn,
        "Events wait for the platform and grow in number for 30 minutes while it is connected.",
        "Look at the broker's load and limits, `uplink.max_per_s`, `uplink.mib_per_day` and the line. Nothing is lost meanwhile.",
    ),
    kind(
        BROKER_LIMITS,
        Severity::Fault,
        "The broker takes no message, acknowledges none (maximum QoS 0), or takes packets below 1,024 bytes: no event fits. All wait here.",
        "Raise the limit at the broker; events of up to 8 KiB come.",
    ),
    kind(
        "broker_refused",
        Severity::Warn,
        "The broker refuses events again and again; they are tried on.",
        "Look at the broker's log and its quotas.",
    ),
    kind(
        CANARY,
        Severity::Fault,
        "The store did not prove that it commits, or took over 2 seconds to.",
        "Look at the disk: `dmesg`, `waypost doctor`. A card that gets slow is worn: replace it.",
    ),
    kind(
        CERTIFICATE,
        Severity::Fault,
        "The first of the certificates in use (the node's, its CA's, the broker's) ends within 30 days; a fault within 7 days and after.",
        "Renew the one it names and put it into its place: [how](tls.md#renew). No restart is needed.",
    ),
    kind(
        "clock_disagrees",
        Severity::Warn,
        "A receiver and NTP tell times that are over 10 s apart; NTP is used.",
        "Check the receiver: spoofed, jammed, or its firmware is weeks off.",
    ),
    kind(
        CLOCK,
        Severity::Warn,
        "For 10 minutes nothing has vouched for the node's time, neither NTP nor a receiver.",
        "Give the node NTP, or a receiver with `clock = true` and a view of the sky.",
    ),
    kind(
        COMMANDS,
        Severity::Warn,
        "The broker does not let the node hear commands: replay, confirm and ping do not reach it. Events go on.",
        "Allow the node's user to read `<base>/cmd/+` in the broker's access rules.",
    ),
    kind(
        "config_invalid",
        Severity::Fault,
        "The configuration files cannot be used; the node runs on the last good one.",
        "`waypost check` names the line; then `systemctl restart waypost`.",
    ),
    kind(
        "control_socket",
        Severity::Warn,
        "The control socket cannot be made: commands do not find the node.",
        "As the alarm says; then it is tried again.",
    ),
    kind(
        CORRUPTION,
        Severity::Fault,
        "The daily check found the store's file damaged.",
        "Make a backup now (`waypost backup`), restart waypost, replace the card.",
    ),
    kind(
        "disk_read_only",
        Severity::Fault,
        "The disk of the store takes nothing.",
        "A worn card turns read-only: `dmesg`, replace it. Else mount it writable.",
    ),
    kind(
        HIGH_WATER_MARK,
        Severity::Warn,
        "`waypost.mark` cannot be written: a store that comes back older would not be noticed.",
        "Move away what stands in its place in `store.dir`, give the folder back to the service; it is tried again each second.",
    ),
    kind(
        "http_certificate",
        Severity::Fault,
        "The screen's certificate cannot be used, or ends soon. Without one that can be used nobody reaches the screen; intake goes on.",
        "As the alarm says: put certificate and key in place; they are read again by themselves.",
    ),
    kind(
        "http_listen",
        Severity::Warn,
        "An address of `http.listen` cannot be listened on; intake goes on.",
        "As the alarm says: end the other program or change the address.",
    ),
    kind(
        "identity",
        Severity::Fault,
        "The card woke in another machine than the one it is bound to: a copy, or moved. Intake goes on, the uplink waits.",
        "`waypost identity accept` when this is the only node of its name; `waypost identity rename` first when it is not.",
    ),
    kind(
        LEDGER,
        Severity::Fault,
        "The counts do not balance.",
        "`waypost outbox check` says which; report it with its output.",
    ),
    kind(
        "ledger_mended",
        Severity::Fault,
        "The counts did not balance at the start and were set right from the events.",
        "If it comes back, replace the card. It ends with the next start.",
    ),
    kind(
        "mib_per_day",
        Severity::Info,
        "The day's data budget is used up; events wait.",
        "Nothing, or raise `uplink.mib_per_day`.",
    ),
    kind(
        "no_subscriber",
        Severity::Warn,
        "Nobody subscribes to the node's events; they wait here.",
        "Subscribe to `<base>/event/#`, or set `uplink.no_subscriber = \"accept\"`.",
    ),
    kind(
        "not_authorized",
        Severity::Fault,
        "The broker does not let the node in, or not publish.",
        "Check `uplink.username`, `password_file`, `client_id` and the broker's access rules.",
    ),
    kind(
        "plan_invalid",
        Severity::Warn,
        "The plan of the zones cannot be used; of a file the last good one is.",
        "A file: `waypost check` names the line; then restart waypost. One that is kept: save it again on the page.",
    ),
    kind(
        "protocol_311",
        Severity::Info,
        "MQTT 3.1.1: the acknowledgement does not tell whether the broker kept the message.",
        "Use a broker with MQTT 5 and set `uplink.protocol = \"5\"`.",
    ),
    kind(
        "protocol_refused",
        Severity::Fault,
        "The broker refuses MQTT 5.",
        "Set `uplink.protocol = \"3.1.1\"`, or use a broker with MQTT 5.",
    ),
    kind(
        RESERVE,
        Severity::Warn,
        "The reserve for a full disk, `waypost.ballast`, cannot be laid: on a full disk nothing could be cleared away.",
        "Move away what stands in its place in `store.dir`, give the folder back to the service; it is tried again each second.",
    ),
    kind(
        RESTARTED,
        Severity::Warn,
        "The node ended within the last 10 minutes though nobody stopped it, and was started again. Nothing that was answered is lost.",
        "Nothing, if it stays the only time; else send the log to support.",
    ),
    kind(
        "retention",
        Severity::Warn,
        "Old events stay in the log: a pass refused or could not go on.",
        "As the alarm says: mostly the clock, or room for the archive.",
    ),
    kind(
        "retired",
        Severity::Info,
        "A person has ended this node: nothing goes to the platform any more.",
        "`waypost identity accept` lets it go on; else stop it.",
    ),
    kind(
        "room",
        Severity::Fault,
        "The store's room ends: from 70 % on a word, from 95 % on a fault; then events are refused.",
        "Free space, raise `store.max_mib`, or bring the platform back.",
    ),
    kind(
        SAFE_MODE,
        Severity::Fault,
        "Five runs of the node in a row did not last a minute. Screen and store are up; devices and uplink come back one a minute, but for what came with an end.",
        "Look at what is off: its device, its lines of the configuration; then `systemctl restart waypost`: [how](restarts.md).",
    ),
    kind(
        SCREEN,
        Severity::Fault,
        "The screen did not answer the node's own question.",
        "Nothing: the node starts again if it stays so. If it comes back, send the log to support.",
    ),
    kind(
        SOURCE,
        Severity::Fault,
        "`source_<id>`: an input is silent for 60 s, sends garbage for 60 s, or is absent, held or closed to the service for 10 s.",
        "As the alarm says; `waypost doctor` names who holds a port.",
    ),
    kind(
        STALE_FIX,
        Severity::Warn,
        "`stale_fix_<id>`: the receiver is heard, but has given no position for 10 minutes.",
        "A tunnel or a hall: nothing. Else the antenna: it needs a free view of the sky.",
    ),
    kind(
        "storage",
        Severity::Fault,
        "The store cannot take what is read: the disk is full or fails.",
        "Free space, check the disk; intake goes on by itself.",
    ),
    kind(
        "store_restored",
        Severity::Warn,
        "A backup was put in the place of the store; what is missing is named.",
        "If it was meant: move its folder in `quarantine/` away. It ends with the start after that.",
    ),
    kind(
        "store_rolled_back",
        Severity::Fault,
        "The store came back older than it was; what is missing is named.",
        "Replace the card, unless somebody put an old copy back. It ends with the next start.",
    ),
    kind(
        "store_salvaged",
        Severity::Fault,
        "The store was damaged; what could be saved was, the rest is named.",
        "Replace the card; then move the folder in `quarantine/` away.",
    ),
    kind(
        "takeover",
        Severity::Fault,
        "The broker ends the connection for another client with the same client id, or seems to; the node comes back ever more rarely.",
        "Give each node a `node.id`, or `uplink.client_id`, of its own; find the other one: a copied card, a test program.",
    ),
    kind(
        TLS,
        Severity::Fault,
        "The broker and the node agree on no TLS, or a file that the node needs for it cannot be used. Nothing was sent; events wait here.",
        "As the alarm says: [what each means](tls.md#what-the-node-says).",
    ),
    kind(
        UNCONFIRMED,
        Severity::Warn,
        "Events past `store.retention_days` stay: the centre has not confirmed them, and `uplink.confirm` is true.",
        "Let the centre publish `<base>/cmd/confirm`, or set `uplink.confirm = false`. They count towards `store.max_mib`.",
    ),
    kind(
        UPLINK_DOWN,
        Severity::Warn,
        "The platform has not been reached for 10 minutes; events wait here.",
        "Check the line and the broker; `waypost status` says why the last try failed.",
    ),
    kind(
        "wal",
        Severity::Warn,
        "The write-ahead log grows: somebody reads the store for very long.",
        "Find the other program (`fuser waypost.db`) and end it.",
    ),
    kind(
        "worker_gave_up",
        Severity::Fault,
        "A part of the node could not be brought back; the process starts again.",
        "If it comes back, send the log to support.",
    ),
    kind(
        WORKER,
        Severity::Warn,
        "A part of the node was restarted within the last 10 minutes.",
        "Nothing, if it stays the only time; else send the log to support.",
    ),
];

/// How bad an alarm is at its worst; one that is not in the list is a fault.
#[must_use]
pub fn worst(name: &str) -> Severity {
    ALARMS.iter().find(|kind| kind.name == name).map_or(Severity::Fault, |kind| kind.worst)
}

/// Whether an alarm of this name may be raised.
#[must_use]
pub fn is_known(name: &str) -> bool {
    ALARMS.iter().any(|kind| if kind.name.ends_with('_') { name.starts_with(kind.name) } else { name == kind.name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> String {
        let mut text = String::from("| name | at worst | means | do |\n| --- | --- | --- | --- |\n");
        for Kind { name, worst, meaning, remedy } in ALARMS {
            let worst = format!("{worst:?}").to_lowercase();
            let each = if name.ends_with('_') { "<id>" } else { "" };
            text.push_str(&format!("| `{name}{each}` | {worst} | {meaning} | {remedy} |\n"));
        }
        text
    }

    #[test]
    fn the_page_of_the_alarms_says_what_the_list_says() {
        let page = include_str!("../../docs/operating/alarms.md");
        assert!(page.contains(&table()), "put this into docs/operating/alarms.md:\n{}", table());
    }

    #[test]
    fn the_list_is_in_order_and_every_name_is_a_level_of_a_topic() {
        assert!(ALARMS.windows(2).all(|two| two[0].name < two[1].name));
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(ALARMS.iter().all(|kind| kind.name.chars().all(fits)));
        assert!(is_known("source_door-3") && is_known("ledger"));
        assert!(!is_known("ledgers") && !is_known("misspelt"));
    }
}
