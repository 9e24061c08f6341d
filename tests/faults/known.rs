//! Faults that tests of their own do: run here again, in full size, so that the table has all of them.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::bench::full;

use super::{Beside, Case, Need, Run, Seen, When};

const BROKER: &[Need] = &[Need::Program("mosquitto")];

/// A case that is a test of this binary.
macro_rules! outside {
    ($id:literal, $fault:literal, $then:literal, $needs:expr, $room:ident::$test:ident) => {
        Case {
            id: $id,
            fault: $fault,
            then: $then,
            when: When::Elsewhere,
            beside: Beside::Others,
            needs: $needs,
            run: Run::Test(concat!(stringify!($room), "::", stringify!($test)), crate::$room::$test),
        }
    };
}

/// A case that is some tests of the library.
const fn inside(id: &'static str, (fault, then): (&'static str, &'static str), tests: &'static [&'static str]) -> Case {
    Case { id, fault, then, when: When::Elsewhere, beside: Beside::Others, needs: &[], run: Run::Library(tests) }
}

pub const OUTSIDE: [Case; 29] = [
    outside!(
        "F08",
        "the disk is filled to its last byte under load, then freed; again and again",
        "refused within a second, screens go on, back within ten, by itself",
        &[Need::Root, Need::Loop],
        disk::a_disk_filled_to_the_last_byte_under_load_and_freed_loses_nothing_and_is_back_in_seconds
    )
    .alone(),
    outside!(
        "F08.start",
        "the disk is full or read-only at the start, with its reserve and without",
        "a screen says so, no restart; it goes on by itself",
        &[Need::Root, Need::Loop],
        disk::a_start_on_a_full_or_read_only_disk_comes_up_with_a_screen_that_says_so_and_goes_on_by_itself
    ),
    outside!(
        "F09",
        "more comes than `max_mib` has room for",
        "archives go, then rows, then fixes, then intake; what is not sent stays",
        &[],
        disk::within_max_mib_archives_go_then_rows_then_fixes_then_intake_and_what_is_not_sent_never
    ),
    outside!(
        "F11",
        "the kernel finds an error under load and makes the disk read-only",
        "refused aloud, alarm `disk_read_only`, screens go on, no restart; what was `ok` is there",
        &[Need::Root, Need::Loop],
        disk::a_disk_that_the_kernel_has_shut_is_shown_and_read_from_and_refused_aloud_and_keeps_what_was_ok
    ),
    outside!(
        "F20.wal",
        "a reader stays and the log of writes grows",
        "the alarm `wal` stands until it goes, then the log is cut",
        &[],
        disk::a_reader_that_stays_makes_the_log_of_writes_grow_which_is_told_until_it_goes
    ),
    outside!(
        "F54",
        "a boot at 1970, the clock set by +20 years, -1 h, +1024 weeks, a kill; then a receiver tells the time",
        "the centre has all scans in order, their times put right within the stated error",
        BROKER,
        clock::a_gateway_at_1970_that_is_set_about_and_killed_is_put_right_by_the_first_receiver
    ),
    outside!(
        "F01.alone",
        "kill -9, while a scanner waits for each answer",
        "each scan answered `ok` is there once, here and upstream",
        BROKER,
        kill::a_scan_answered_ok_survives_every_kill_here_and_upstream_once
    ),
    outside!(
        "F01.letters",
        "kill -9 while held scans are tried again",
        "each held scan becomes one event, with its own time",
        &[],
        register::a_scan_held_before_a_kill_is_retried_once_however_often_the_node_is_killed
    ),
    outside!(
        "F18",
        "a second node is started on the same store",
        "it is refused in words and exit code, the first is hurt in nothing",
        &[],
        commands::a_second_node_on_the_same_store_is_refused_and_hurts_the_first_in_nothing
    ),
    outside!(
        "F25",
        "each worker panics",
        "it is back within a minute, the books balance",
        BROKER,
        wedge::a_worker_that_panics_is_back_and_no_answered_scan_is_lost
    ),
    outside!(
        "F26",
        "each worker is in an endless loop",
        "the process ends itself within a minute and says who hung",
        BROKER,
        wedge::a_worker_in_an_endless_loop_ends_the_process
    ),
    outside!(
        "F27",
        "each worker waits for ever",
        "it is noticed within 30 s and started again",
        BROKER,
        wedge::a_worker_that_waits_for_ever_is_noticed_and_started_again
    ),
    outside!(
        "F28",
        "each worker blocks its thread, the writer too",
        "the process ends itself within a minute and says who hung",
        BROKER,
        wedge::a_worker_that_blocks_its_thread_ends_the_process
    ),
    outside!(
        "F30",
        "the configuration is broken at a later start",
        "it runs on its last good one and says so",
        &[],
        config::an_invalid_file_at_a_later_start_leaves_the_node_on_its_last_good_configuration
    ),
    outside!(
        "F30.denied",
        "the store may not be written at the start",
        "it says so with the remedy, and ends",
        &[],
        config::a_node_that_may_not_write_its_store_says_so_and_ends
    ),
    outside!(
        "F33",
        "a receiver is unplugged and plugged in again, and again",
        "no descriptor leaks, a fix within 3 s",
        &[],
        replug::replugs_leak_no_descriptor_and_each_gives_a_fix_within_three_seconds
    ),
    outside!(
        "F36",
        "a line is at the wrong rate",
        "the rate is found, without a byte to the receiver",
        &[],
        baud::each_rate_is_found_in_time_without_a_byte_to_the_receiver
    ),
    outside!(
        "F36.noise",
        "a line is dirty",
        "each byte is counted by its reason",
        &[],
        ports::what_a_dirty_line_sends_is_counted_by_its_reason_and_hurts_nothing_else
    ),
    outside!(
        "F38",
        "a log of a receiver is played twice",
        "each fix is stored once",
        &[],
        path::a_log_of_a_real_receiver_that_is_played_twice_is_stored_once
    ),
    outside!(
        "F45",
        "52 odd scans: long, binary, control characters",
        "each is kept as it was or refused with its reason",
        &[],
        scans::the_corpus_through_ptys_and_through_the_command_comes_out_the_same
    ),
    outside!(
        "F46.many",
        "a seventeenth connection to a scanner's port",
        "it is told that the port is busy",
        &[],
        ports::the_seventeenth_connection_is_told_that_the_listener_is_busy
    ),
    outside!(
        "F46.deaf",
        "a peer does not read its replies",
        "the others go on",
        &[],
        ports::a_peer_that_does_not_read_its_replies_stops_no_other
    ),
    outside!(
        "F47",
        "broker restarts, cut wires, a minute without a broker",
        "the centre has each event, nothing is called sent without its PUBACK",
        BROKER,
        broker::the_centre_has_every_scan_after_every_blow_and_nothing_is_sent_without_its_puback
    ),
    outside!(
        "F47.stop",
        "a stop under load",
        "what was answered is kept, the farewell is said, within 10 s",
        BROKER,
        broker::a_stop_under_load_keeps_what_was_answered_and_says_offline
    ),
    outside!(
        "F56",
        "a browser does not read its stream",
        "it is cut off; nobody else waits",
        &[],
        stream::a_stream_that_is_not_read_holds_up_no_other
    ),
    outside!(
        "F56.cut",
        "a stream is cut a hundred times",
        "nothing is missed or repeated",
        &[],
        stream::a_stream_that_is_cut_a_hundred_times_while_scans_arrive_misses_and_repeats_nothing
    ),
    outside!(
        "F57",
        "a browser comes with the cursor of another store",
        "a reset, and then the present",
        &[],
        stream::a_cursor_of_another_store_is_answered_with_a_reset_and_then_the_present
    ),
    outside!(
        "F57.garbage",
        "a browser comes with garbage for a cursor",
        "it is refused in words",
        &[],
        stream::garbage_for_a_cursor_is_refused_and_says_what_a_cursor_is
    ),
    outside!(
        "F01.siege",
        "100,000 events; the broker killed 20 times, the link silent 5 times, the node killed 10 times",
        "sent is what the broker acknowledged, each event and no other; what the broker lost after that the centre sees and gets by `cmd/replay`; sent twice is the window and 200 ms at most",
        BROKER,
        siege::whatever_is_killed_what_is_sent_is_what_was_acknowledged_and_the_centre_gets_each_event
    ),
];

pub const INSIDE: [Case; 22] = [
    inside(
        "F29",
        ("a stalled thread, a panicking one, a blocked runtime", "noticed, restarted, or the process ended"),
        &["health::supervisor"],
    ),
    inside(
        "F35",
        ("a receiver is silent with its port open", "said once, and the port opened anew"),
        &["a_silent_receiver_is_said_to_be_silent", "silence_is_told_once"],
    ),
    inside(
        "F37",
        ("epochs without a position", "counted; no event and no fault"),
        &["an_epoch_without_a_position_is_counted"],
    ),
    inside("F39", ("sentences mutated, split, merged: millions", "no panic, every byte is accounted for"), &["mutat"]),
    inside("F39.scans", ("reads mutated: millions", "no panic, no read without an outcome"), &["gs1::tests"]),
    inside(
        "F40",
        (
            "dates of another era, a leap second, midnight",
            "marked as doubtful, moved where only one era fits; it freezes no asset",
        ),
        &["decoder::nmea::date", "a_receiver_that_begins_with_a_wrong_year"],
    ),
    inside("F41", ("positions that cannot be", "marked as doubtful; it moves nothing"), &["decoder::nmea::doubt"]),
    inside(
        "F42",
        ("a stuttering scanner, and a restart in between", "one event with its repeats counted"),
        &["a_stuttering_scanner_makes_one_event"],
    ),
    inside("F43", ("a second scan after the window", "two events"), &["another_code_in_between_ends_the_window"]),
    inside(
        "F44",
        ("a frame is cut by an unplug", "a letter; never glued to the next read"),
        &["a_frame_cut_by_an_unplug_is_a_letter"],
    ),
    inside(
        "F48",
        ("a broker is silent on an open connection", "given up after 20 s, made anew"),
        &["a_silent_broker_is_left_for_a_new_connection"],
    ),
    inside(
        "F49",
        (
            "every reason code, oversize, poison",
            "sent, held, tried again or a letter, as docs/mqtt.md says; the others flow",
        ),
        &[
            "each_reason_code_ends_as_the_contract_says",
            "a_lane_that_may_not_publish",
            "unheard_events_wait",
            "an_event_larger_than",
            "an_event_that_ends_each_connection",
            "a_disconnect_for_size",
        ],
    ),
    inside(
        "F50",
        ("PUBACKs lost and doubled, sessions lost", "sent again under the same id"),
        &["every_event_arrives_through_broker_restarts", "uplink::world", "uplink::session"],
    ),
    inside(
        "F52",
        ("a backlog drains", "in order, both lanes in turn"),
        &["a_backlog_drains_and_the_rate_is_printed", "lanes_take_turns"],
    ),
    inside(
        "F12.dice",
        (
            "1,000 times a byte of a store of 50,000 events is another, or a file ends there",
            "served within 10 s; what is there and what is named as missing is all",
        ),
        &["whatever_byte_flips"],
    )
    .alone(),
    inside(
        "F53",
        (
            "the clock jumps before and after the time is known; a receiver was twenty years ahead",
            "each event is put right for its stretch, or does not move",
        ),
        &["a_wall_clock_that_is_set", "a_receiver_that_began_twenty_years_ahead"],
    ),
    inside(
        "F54.many",
        ("500 events of a boot at 1970, a restart before the time is known", "all are put right, none lost, in order"),
        &["five_hundred_events_of_a_boot_at_1970", "a_restart_between_the_events_and_the_time"],
    ),
    inside(
        "F53.order",
        ("a day of reads and fixes arrives in any order", "the places and the history are the same"),
        &["a_shuffled_day"],
    ),
    inside(
        "F58",
        ("a clock that would delete", "nothing is deleted and an alarm says why"),
        &["a_clock_that_jumps_ahead_removes_nothing", "a_pass_without_a_time", "days_made_fewer"],
    ),
    inside(
        "F60",
        ("a port may not be opened", "said with the command that helps; tried again first"),
        &["a_tty_that_the_service_may_not_open", "a_port_that_udev_has_not_given"],
    ),
    inside(
        "S1",
        (
            "the store against a model: appends, failures, letters, acknowledgements, kills",
            "it says what the model says",
        ),
        &["whatever_is_done_the_store_says_what_the_model_says"],
    ),
    inside(
        "S2",
        (
            "10,000 worlds of dice: reads, a store, the session, a broker, replays, crashes, clocks that jump",
            "nothing unsafe is seen; once healed, all is delivered",
        ),
        &["simulator_tests"],
    )
    .alone(),
];

/// The test binary of the library, built as this one was; in full size optimized, for it plays millions of lines and thousands
/// of worlds.
pub fn binary() -> &'static str {
    static BINARY: OnceLock<String> = OnceLock::new();
    BINARY.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["test", "--locked", "--lib", "--no-run", "--message-format=json"]);
        if full() {
            command.env("CARGO_PROFILE_TEST_OPT_LEVEL", "1");
        }
        // What cargo told this binary of its package would have it build again what was built without.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stderr(Stdio::inherit());
        let out = command.output().unwrap();
        assert!(out.status.success(), "the library's tests do not build");
        let lines = String::from_utf8(out.stdout).unwrap();
        let built = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_lib = built.filter(|one| one["profile"]["test"] == true && one["target"]["kind"][0] == "lib");
        of_lib
            .filter_map(|one| one["executable"].as_str().map(str::to_owned))
            .next_back()
            .expect("the library has tests")
    })
}

/// Runs the tests whose names hold one of the filters; each filter has some.
pub fn library(filters: &[&str]) -> Seen {
    let mut times = 0;
    for filter in filters {
        let out = Command::new(binary()).arg(filter).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{filter}: {said}{}", String::from_utf8_lossy(&out.stderr));
        let passed = said.split(" passed").next().and_then(|before| before.rsplit(' ').next()?.parse::<u64>().ok());
        let passed = passed.unwrap_or(0);
        assert!(passed > 0, "no test of the library is named like {filter}");
        times += passed;
    }
    Seen { times, said: format!("tests of the library: {}", filters.join(", ")) }
}
