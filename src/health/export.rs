//! The metrics as text: OpenMetrics 1.0 or the Prometheus text format 0.0.4. The words are the contract's; this file
//! decides nothing but how they are written.

use std::fmt;
use std::sync::PoisonError;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::domain::{Doubt, Lane};

use super::labels::PUBLISH_CODES;
use super::sample::precise;
use super::{
    CommandKind, CommandOutcome, PortOutcome, ProcessUse, ReconnectReason, RestartReason, Sample, SourceSample,
    StreamDrop, StreamOpen, Tally,
};

/// How the metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0: counters are named without `_total` in their description, the text ends with `# EOF`.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    Prometheus,
}

impl Format {
    /// The format that an `Accept` header asks for: OpenMetrics where it is named and not liked less than plain
    /// text, else Prometheus.
    #[must_use]
    pub fn from_accept(accept: &str) -> Self {
        let wish = |name: &str| {
            let ranges = accept
                .split(',')
                .map(str::trim)
                .filter(|range| range.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(name)));
            ranges.map(quality).fold(None, |best: Option<f32>, q| Some(best.map_or(q, |best| best.max(q))))
        };
        match wish("application/openmetrics-text") {
            Some(q) if q > 0.0 && q >= wish("text/plain").unwrap_or(0.0) => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// The `Content-Type` of the text.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The `q` of a media range; 1 without one, 0 for one that cannot be read.
fn quality(range: &str) -> f32 {
    let q = range.split(';').find_map(|part| part.trim().strip_prefix("q="));
    q.map_or(1.0, |q| q.trim().parse().unwrap_or(0.0))
}

/// All metrics as text in a format.
#[must_use]
pub fn text(tally: &Tally, sample: &Sample, format: Format) -> String {
    let mut ours = Registry::with_prefix("waypost");
    ours.register_collector(Box::new(Ours { tally: tally.clone(), sample: sample.clone(), format }));
    let mut process = Registry::with_prefix("process");
    if let Some(usage) = sample.process {
        process.register_collector(Box::new(Process { usage, format }));
    }
    let mut page = String::with_capacity(16 * 1024);
    let mut written = text::encode_registry(&mut page, &ours).and(text::encode_registry(&mut page, &process));
    if format == Format::OpenMetrics {
        written = written.and(text::encode_eof(&mut page));
    }
    if written.is_err() {
        // Writing into a string cannot fail; a value that the encoder refuses would be our own bug.
        tracing::error!("the metrics could not be written as text; report this as a bug");
    }
    page
}

#[derive(Debug)]
struct Ours {
    tally: Tally,
    sample: Sample,
    format: Format,
}

#[derive(Debug)]
struct Process {
    usage: ProcessUse,
    format: Format,
}

impl Collector for Ours {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page { encoder, format: self.format };
        self.build(&mut page)?;
        self.frames(&mut page)?;
        self.ports(&mut page)?;
        self.sources(&mut page)?;
        self.store(&mut page)?;
        self.uplink(&mut page)?;
        self.screen(&mut page)?;
        self.workers(&mut page)
    }
}

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// Writes families of metrics in one of the two formats.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    format: Format,
}

impl Page<'_> {
    /// A counter: `name` without `_total`, and a value for each set of labels. Nothing is written without values.
    fn counter<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let full = format!("{name}_total");
        let described = match self.format {
            Format::OpenMetrics => name,
            Format::Prometheus => &full,
        };
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(described, help, None, MetricType::Counter)?;
        let format = self.format;
        for (labels, value) in rows {
            each(&mut family, &labels, |one| match format {
                Format::OpenMetrics => one.encode_counter::<NoLabelSet, u64, f64>(&value, None),
                // Its description has the full name, so the value is written without a suffix.
                Format::Prometheus => one.encode_gauge(&value),
            })?;
        }
        Ok(())
    }

    /// A gauge: a value for each set of labels. Nothing is written without values.
    fn gauge<'l, V: EncodeGaugeValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            each(&mut family, &labels, |one| one.encode_gauge(&value))?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, values: &Histogram) -> fmt::Result {
        values.encode(self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?)
    }
}

/// One value of a family. Without labels there are no braces either.
fn each<const N: usize>(
    family: &mut MetricEncoder,
    labels: &Labels<'_, N>,
    write: impl FnOnce(&mut MetricEncoder) -> fmt::Result,
) -> fmt::Result {
    if N == 0 { write(family) } else { write(&mut family.encode_family(labels)?) }
}

/// The rows of a closed list of counters under one label.
fn listed<'a, T: Copy>(
    label: &'static str,
    list: &'a [T],
    word: fn(T) -> &'static str,
    counters: &'a [Counter],
) -> impl Iterator<Item = (Labels<'a, 1>, u64)> {
    list.iter().zip(counters).map(move |(one, counter)| ([(label, word(*one))], counter.get()))
}

/// The row of a value without labels, when there is one.
fn alone<V>(value: Option<V>) -> Option<(Labels<'static, 0>, V)> {
    value.map(|value| ([], value))
}

fn seconds(span: std::time::Duration) -> f64 {
    span.as_secs_f64()
}

impl Ours {
    fn build(&self, page: &mut Page) -> fmt::Result {
        let build = self.sample.build;
        let labels = [("version", build.version), ("arch", build.arch)];
        let help = "What runs here.";
        match self.format {
            Format::OpenMetrics => {
                page.encoder.encode_descriptor("build", help, None, MetricType::Info)?.encode_info(&labels)
            }
            Format::Prometheus => page.gauge("build_info", help, [(labels, 1_u64)]),
        }
    }

    fn frames(&self, page: &mut Page) -> fmt::Result {
        let frames = &self.sample.frames;
        let ended = frames.iter().flat_map(|one| {
            one.outcomes.iter().map(|(outcome, n)| ([("source", &*one.source), ("outcome", outcome.as_str())], *n))
        });
        page.counter("frames", "Frames by how they ended, as the ledger knows them.", ended)?;
        let rejected = frames.iter().flat_map(|one| {
            one.rejected.iter().map(|(reason, n)| ([("source", &*one.source), ("reason", reason.as_str())], *n))
        });
        page.counter("frames_rejected", "Rejected frames by reason, as the ledger knows them.", rejected)
    }

    fn ports(&self, page: &mut Page) -> fmt::Result {
        let ports = self.tally.0.ports.all();
        let rows = |of: fn(&super::tally::Port) -> &[Counter; PortOutcome::COUNT]| {
            ports.iter().flat_map(move |(source, port)| {
                PortOutcome::all().zip(of(port)).filter_map(move |(outcome, counter)| {
                    // A reason gets its series with its first case: a port would have seventy, nearly all 0.
                    let shown = !matches!(outcome, PortOutcome::Refused(_)) || counter.get() > 0;
                    shown.then(|| ([("source", &**source), ("outcome", outcome.as_str())], counter.get()))
                })
            })
        };
        page.counter("sentences", "Sentences of a port by what became of them.", rows(|port| &port.sentences))?;
        page.counter("bytes", "Bytes of a port by what became of them.", rows(|port| &port.bytes))?;
        let doubted = ports.iter().flat_map(|(source, port)| {
            let counted = Doubt::ALL.iter().zip(&port.doubts).filter(|(_, counter)| counter.get() > 0);
            counted.map(|(doubt, counter)| ([("source", &**source), ("doubt", doubt.as_str())], counter.get()))
        });
        page.counter("fixes_doubted", "Fixes that may not be taken at their word, by why.", doubted)?;
        let dropping = ports.iter().filter(|(_, port)| port.drops.get() > 0);
        let dropping = dropping.map(|(source, port)| ([("source", &**source)], port.drops.get()));
        page.counter("receiver_drops", "Times a receiver said that its line is full (txbuf).", dropping)?;
        let losses = self.tally.losses();
        let refused = losses.iter().map(|(source, stage, reason, n)| {
            ([("source", &**source), ("stage", stage.as_str()), ("reason", reason.as_str())], *n)
        });
        page.counter("losses", "Things refused since the process began, each with a letter.", refused)
    }

    fn sources(&self, page: &mut Page) -> fmt::Result {
        let sources = &self.sample.sources;
        let up = sources.iter().map(|one| ([("source", &*one.source)], u64::from(one.up)));
        page.gauge("source_up", "Whether an input is open and delivers.", up)?;
        let of = |value: fn(&SourceSample) -> Option<f64>| {
            sources.iter().filter_map(move |one| Some(([("source", &*one.source)], value(one)?)))
        };
        let help = "Seconds since the last whole frame of an input.";
        page.gauge("source_last_frame_age_seconds", help, of(|one| one.last_frame_age.map(seconds)))?;
        let help = "Seconds since the last valid position of a receiver.";
        page.gauge("fix_age_seconds", help, of(|one| one.fix_age.map(seconds)))?;
        let help = "Share of a serial line's capacity that is in use.";
        page.gauge("line_load_ratio", help, of(|one| one.line_load))
    }

    fn store(&self, page: &mut Page) -> fmt::Result {
        let (cells, sample) = (&self.tally.0, &self.sample);
        let help = "Seconds from the last byte of an event to its commit.";
        page.histogram("ingest_to_commit_seconds", help, &cells.ingest_to_commit_seconds)?;
        page.histogram("commit_seconds", "Seconds a commit took.", &cells.commit_seconds)?;
        let waiting = sample.outbox_unsent.iter().map(|(lane, n)| ([("lane", lane.as_str())], *n));
        page.gauge("outbox_unsent", "Events that wait for the platform.", waiting)?;
        let help = "Seconds the oldest event has waited for the platform; 0 when none waits.";
        let oldest = sample.oldest_unsent.or((!sample.outbox_unsent.is_empty()).then_some(std::time::Duration::ZERO));
        page.gauge("outbox_oldest_unsent_seconds", help, alone(oldest.map(seconds)))?;
        let letters = sample.letters.iter();
        let letters = letters.map(|(reason, state, n)| ([("reason", reason.as_str()), ("state", state.as_str())], *n));
        page.gauge("letters", "Letters by reason and state.", letters)?;
        let help = "Sum of the absolute differences of the ledger's identities; must be 0.";
        page.gauge("ledger_imbalance", help, alone(sample.ledger_imbalance))?;
        let files = sample.store_bytes.iter().map(|(file, n)| ([("file", file.as_str())], *n));
        page.gauge("store_bytes", "Bytes on the disk, by what they are.", files)?;
        page.gauge("wal_bytes", "Bytes of the write-ahead log.", alone(sample.wal_bytes))?;
        let help = "Bytes that the store wrote to its files.";
        page.counter("store_written_bytes", help, alone(Some(cells.store_written_bytes.get())))?;
        let help = "Seconds the store can take events in at the present rate without the platform.";
        page.gauge("storage_autonomy_seconds", help, alone(sample.storage_autonomy.map(seconds)))?;
        page.gauge("disk_free_bytes", "Bytes free for the store.", alone(sample.disk_free_bytes))?;
        let help = "Seconds by which the wall clock is behind the best known time.";
        #[expect(clippy::cast_precision_loss, reason = "an error of 285,000 years may lose its last millisecond")]
        let error_s = sample.clock_error_ms.map(|ms| ms as f64 / 1e3);
        page.gauge("clock_error_seconds", help, alone(error_s))?;
        let help = "Seconds the last canary took to its commit.";
        page.gauge("canary_seconds", help, alone(sample.canary.map(seconds)))?;
        let alarms = sample.alarms.iter();
        let alarms = alarms.map(|(name, severity)| ([("name", &**name), ("severity", severity.as_str())], 1_u64));
        page.gauge("alarm", "1 for each alarm that stands; docs/operating/alarms.md lists them.", alarms)
    }

    fn uplink(&self, page: &mut Page) -> fmt::Result {
        let (cells, sample) = (&self.tally.0, &self.sample);
        let help = "Whether the broker is connected.";
        page.gauge("uplink_connected", help, alone(sample.uplink_connected.map(u64::from)))?;
        let answers = Lane::ALL.iter().zip(&cells.uplink_publishes).flat_map(|(lane, row)| {
            PUBLISH_CODES
                .iter()
                .zip(row)
                .map(|((_, code), counter)| ([("lane", lane.as_str()), ("code", *code)], counter.get()))
        });
        page.counter("uplink_publishes", "Publishes by the broker's answer.", answers)?;
        let help = "Seconds from a publish to its acknowledgement.";
        page.histogram("uplink_publish_seconds", help, &cells.uplink_publish_seconds)?;
        let reasons = listed("reason", ReconnectReason::ALL, ReconnectReason::as_str, &cells.uplink_reconnects);
        page.counter("uplink_reconnects", "Connections to the broker that had to be made again.", reasons)?;
        let again = PUBLISH_CODES.iter().zip(&cells.uplink_replays);
        let again = again.map(|((_, code), counter)| ([("code", *code)], counter.get()));
        page.counter("uplink_replays", "Events published once more for the centre, by the broker's answer.", again)?;
        let commands = CommandKind::ALL.iter().zip(&cells.uplink_commands).flat_map(|(kind, row)| {
            CommandOutcome::ALL
                .iter()
                .zip(row)
                .filter(|(_, counter)| counter.get() > 0)
                .map(|(outcome, counter)| ([("cmd", kind.as_str()), ("outcome", outcome.as_str())], counter.get()))
        });
        page.counter("uplink_commands", "Commands of the centre by what became of them.", commands)?;
        let help = "When the first certificate in use ends, in seconds since 1970.";
        page.gauge("uplink_certificate_not_after_timestamp_seconds", help, alone(sample.certificate_not_after_s))
    }

    fn screen(&self, page: &mut Page) -> fmt::Result {
        let cells = &self.tally.0;
        page.gauge("streams", "Open streams.", alone(Some(self.sample.streams)))?;
        let opens = listed("outcome", StreamOpen::ALL, StreamOpen::as_str, &cells.stream_opens);
        page.counter("stream_opens", "Requests for the stream by how they began.", opens)?;
        let drops = listed("reason", StreamDrop::ALL, StreamDrop::as_str, &cells.stream_dropped);
        page.counter("stream_dropped", "Streams by why they ended.", drops)?;
        let mut answers = Vec::new();
        for (route, by_status) in cells.http_requests.all() {
            let by_status = by_status.lock().unwrap_or_else(PoisonError::into_inner);
            answers.extend(by_status.iter().map(|(status, n)| (route.clone(), status.to_string(), *n)));
        }
        let answers = answers.iter().map(|(route, status, n)| ([("route", &**route), ("status", &**status)], *n));
        page.counter("http_requests", "Requests by the route that matched and the answer's status.", answers)
    }

    fn workers(&self, page: &mut Page) -> fmt::Result {
        let beats = self.sample.beats.iter().map(|(worker, age)| ([("worker", &**worker)], seconds(*age)));
        page.gauge("worker_beat_age_seconds", "Seconds since a worker last said that it gets on.", beats)?;
        let workers = self.tally.0.worker_restarts.all();
        let restarts = workers.iter().flat_map(|(worker, reasons)| {
            RestartReason::ALL
                .iter()
                .zip(&**reasons)
                .map(|(reason, n)| ([("worker", &**worker), ("reason", reason.as_str())], n.get()))
        });
        page.counter("worker_restarts", "Restarts of workers by reason.", restarts)
    }
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let (usage, format) = (self.usage, self.format);
        let mut page = Page { encoder, format };
        // The one counter of the contract that is no whole number.
        let (name, help) = ("cpu_seconds", "Seconds of user and system time.");
        match format {
            Format::OpenMetrics => page
                .encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, f64, f64>(&usage.cpu_s, None)?,
            Format::Prometheus => page
                .encoder
                .encode_descriptor("cpu_seconds_total", help, None, MetricType::Counter)?
                .encode_gauge(&usage.cpu_s)?,
        }
        page.gauge("resident_memory_bytes", "Bytes of memory in RAM.", alone(Some(usage.resident_bytes)))?;
        page.gauge("virtual_memory_bytes", "Bytes of address space.", alone(Some(usage.virtual_bytes)))?;
        page.gauge("threads", "Threads.", alone(Some(usage.threads)))?;
        page.gauge("open_fds", "Open file descriptors.", alone(Some(usage.open_fds)))?;
        page.gauge("max_fds", "The limit of open file descriptors.", alone(usage.max_fds.map(precise)))?;
        page.gauge("start_time_seconds", "When it started, in seconds since 1970.", alone(Some(usage.start_s)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::domain::{Loss, Reason, Stamp};
    use crate::health::{FrameOutcome, LetterState, Severity, SourceFrames, StoreFile};

    fn full() -> (Tally, Sample) {
        let tally = Tally::new(Clock::manual(Stamp::default()));
        tally.sentences("gps0", PortOutcome::Used);
        tally.sentences("gps0", PortOutcome::Refused(Reason::BadChecksum));
        tally.doubted("gps0", Doubt::Frozen);
        tally.receiver_drops("gps0", 3);
        tally.bytes("gps0", PortOutcome::Used, 82);
        tally.commit_seconds(Duration::from_millis(3));
        tally.ingest_to_commit_seconds(Duration::from_millis(7));
        tally.store_written_bytes(4096);
        tally.uplink_publishes(Lane::Fix, 0x10);
        tally.uplink_publish_seconds(Duration::from_millis(80));
        tally.uplink_reconnects(ReconnectReason::NoAck);
        tally.stream_opens(StreamOpen::Replay);
        tally.stream_dropped(StreamDrop::Slow);
        tally.http_requests("/api/v1/events", 200);
        tally.worker_restarts("source:gps0", RestartReason::Stalled);
        tally.lose("door \"3\"\n", &Loss::decoder(Reason::Noread, b"NOREAD", 64));
        let sample = Sample {
            frames: vec![SourceFrames {
                source: "gps0".into(),
                outcomes: FrameOutcome::ALL.iter().map(|one| (*one, 5)).collect(),
                rejected: vec![(Reason::Noread, 5)],
            }],
            sources: vec![SourceSample {
                source: "gps0".into(),
                up: true,
                last_frame_age: Some(Duration::from_millis(1_500)),
                fix_age: Some(Duration::from_secs(2)),
                line_load: Some(0.25),
            }],
            outbox_unsent: vec![(Lane::Scan, 0), (Lane::Fix, 12)],
            uplink_connected: Some(false),
            certificate_not_after_s: Some(1_800_000_000),
            streams: 4,
            letters: vec![(Reason::Noread, LetterState::Open, 5)],
            ledger_imbalance: Some(0),
            store_bytes: StoreFile::ALL.iter().map(|one| (*one, 4096)).collect(),
            wal_bytes: Some(32),
            storage_autonomy: Some(Duration::from_secs(86_400)),
            disk_free_bytes: Some(1 << 33),
            clock_error_ms: Some(-1_500),
            canary: Some(Duration::from_millis(4)),
            alarms: vec![("room".into(), Severity::Warn)],
            beats: vec![("writer".into(), Duration::from_millis(250))],
            process: Some(ProcessUse { cpu_s: 1.5, max_fds: Some(4096), ..ProcessUse::default() }),
            ..Sample::default()
        };
        (tally, sample)
    }

    /// The names of contract section 7, in the format 0.0.4.
    const NAMES: &str = "frames_total frames_rejected_total sentences_total bytes_total source_up \
        source_last_frame_age_seconds fix_age_seconds line_load_ratio ingest_to_commit_seconds commit_seconds \
        outbox_unsent outbox_oldest_unsent_seconds uplink_connected uplink_publishes_total uplink_publish_seconds \
        uplink_reconnects_total uplink_certificate_not_after_timestamp_seconds streams stream_opens_total \
        stream_dropped_total http_requests_total worker_beat_age_seconds worker_restarts_total letters \
        ledger_imbalance store_bytes wal_bytes store_written_bytes_total storage_autonomy_seconds disk_free_bytes \
        clock_error_seconds canary_seconds build_info";

    /// What a page describes: name and type.
    fn described(page: &str) -> BTreeMap<&str, &str> {
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
    }

    #[test]
    fn every_metric_of_the_contract_is_on_the_page() {
        let (tally, sample) = full();
        let page = text(&tally, &sample, Format::Prometheus);
        let described = described(&page);
        let missing: Vec<&str> = NAMES
            .split_whitespace()
            .filter(|name| !described.contains_key(format!("waypost_{name}").as_str()))
            .collect();
        assert!(missing.is_empty(), "{missing:?}\n{page}");
        assert!(described.contains_key("process_cpu_seconds_total"), "{page}");
    }

    #[test]
    fn promtool_finds_nothing_to_say() {
        let (tally, sample) = full();
        let mut promtool = std::process::Command::new("promtool");
        let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = promtool.spawn() else {
            eprintln!("SKIPPED: promtool is not installed");
            return;
        };
        let page = text(&tally, &sample, Format::Prometheus);
        child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{page}");
    }

    #[test]
    fn every_value_in_the_old_format_stands_under_its_own_description() {
        let (tally, sample) = full();
        let page = text(&tally, &sample, Format::Prometheus);
        let described = described(&page);
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix).filter(|cut| described.get(cut) == Some(&"histogram")))
                .unwrap_or(name);
            assert!(described.contains_key(family), "{line}");
            assert_eq!(family.ends_with("_total"), described[family] == "counter", "{line}");
        }
        assert!(!page.contains("# EOF") && !page.contains("# UNIT"), "{page}");
    }

    #[test]
    fn both_formats_carry_the_same_values() {
        let (tally, sample) = full();
        let values = |format| -> Vec<String> {
            let page = text(&tally, &sample, format);
            page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(values(Format::Prometheus), values(Format::OpenMetrics));
        let page = text(&tally, &sample, Format::OpenMetrics);
        assert!(page.ends_with("# EOF\n"), "{page}");
        assert!(page.contains("# TYPE waypost_frames counter\nwaypost_frames_total{"), "{page}");
        assert!(page.contains("# TYPE waypost_build info\nwaypost_build_info{"), "{page}");
    }

    #[test]
    fn values_and_labels_are_written_exactly() {
        let (tally, sample) = full();
        let page = text(&tally, &sample, Format::Prometheus);
        for line in [
            "waypost_sentences_total{source=\"gps0\",outcome=\"bad_checksum\"} 1",
            "waypost_bytes_total{source=\"gps0\",outcome=\"used\"} 82",
            "waypost_fixes_doubted_total{source=\"gps0\",doubt=\"frozen\"} 1",
            "waypost_receiver_drops_total{source=\"gps0\"} 3",
            "waypost_uplink_publishes_total{lane=\"fix\",code=\"0x10\"} 1",
            "waypost_http_requests_total{route=\"/api/v1/events\",status=\"200\"} 1",
            "waypost_worker_restarts_total{worker=\"source:gps0\",reason=\"stalled\"} 1",
            "waypost_losses_total{source=\"door \\\"3\\\"\\n\",stage=\"decoder\",reason=\"noread\"} 1",
            "waypost_commit_seconds_bucket{le=\"0.005\"} 1",
            "waypost_clock_error_seconds -1.5",
            "waypost_outbox_oldest_unsent_seconds 0.0",
            "waypost_streams 4",
            "waypost_alarm{name=\"room\",severity=\"warn\"} 1",
        ] {
            assert!(page.lines().any(|one| one == line), "{line}\n{page}");
        }
    }

    #[test]
    fn the_format_follows_what_is_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("text/plain, application/openmetrics-text;q=0.2", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("text/html,*/*", Format::Prometheus),
            ("", Format::Prometheus),
        ] {
            assert_eq!(Format::from_accept(accept), format, "{accept}");
        }
    }
}
