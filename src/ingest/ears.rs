//! What a source's bytes say: one decoder a connection, and what is known of the receiver across connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::{BUILD_FLOOR_MS, Keeper};
use crate::config::{MotionLimits, Port, Scanner};
use crate::decoder::gpsd::GpsdDecoder;
use crate::decoder::nmea::{Doubter, NmeaDecoder, NmeaOptions, NmeaOut, Trusted};
use crate::decoder::scan::{Charset, CodeId, Layout, ScanDecoder, ScanOut, ScanProfile};
use crate::domain::{Fix, Loss, Reason, Stage, Stamp, TimeQuality, UnixMs};
use crate::health::{Light, Tally};
use crate::source::{Conn, Input, Lost};

use super::carrier::{Carrier, Part};
use super::motion::{Motion, Pace};
use super::reported::Reported;
use super::ring::Ring;
use super::sampler::Sampler;
use super::sieve::Sieve;
use super::take::{FixFrame, Frame};
use super::{Feed, Node, Reply};

/// Bytes looked at before a port is judged to be garbage.
const GARBAGE_BYTES: u64 = 1024;

/// What came out of the bytes.
pub(super) enum Heard {
    /// Something that gets a row, and where its answer goes.
    Frame(Frame, Reply),
    /// Something that is only counted: the reason of a refused one, or none for an epoch without a position.
    Counted { reason: Option<Reason>, is_frame: bool },
}

enum Decoder {
    Nmea(Box<NmeaDecoder>),
    Gpsd(Box<GpsdDecoder>),
    Scan(Box<ScanDecoder>),
}

struct Ear {
    decoder: Decoder,
    /// Whether its bytes are the events of a keyboard.
    has_keys: bool,
    sieve: Sieve,
    peer: Option<String>,
    reply: Reply,
    reported: Reported,
}

/// The decoders of one source.
pub(super) struct Ears {
    feed: Feed,
    light: Light,
    keeper: Keeper,
    tally: Tally,
    keep: Duration,
    thin_s: Arc<AtomicU64>,
    open: BTreeMap<Conn, Ear>,
    motion: Motion,
    limits: MotionLimits,
    carrier: Option<Carrier>,
    doubter: Doubter,
    sampler: Sampler,
    nth: u64,
    /// Good and refused bytes lately, for the state `garbage`.
    lately: (u64, u64),
    /// What the node has to say of itself, to be stored with the next frames.
    notes: Vec<Heard>,
    ring: Ring,
    /// Whether the port was lost or turned to garbage since somebody asked.
    trouble: bool,
}

impl Ears {
    pub(super) fn new(feed: Feed, light: Light, node: &Node, ring: Ring) -> Self {
        let carrier = match &feed {
            Feed::Gps(gps) => node.carriers.get(&gps.asset).cloned(),
            Feed::Scanner(_) => None,
        };
        Self {
            feed,
            light,
            keeper: node.keeper.clone(),
            tally: node.tally.clone(),
            keep: node.keep,
            thin_s: Arc::clone(&node.thin_s),
            open: BTreeMap::new(),
            motion: Motion::default(),
            limits: node.motion,
            carrier,
            doubter: Doubter::default(),
            sampler: Sampler::default(),
            nth: 0,
            lately: (0, 0),
            notes: Vec::new(),
            ring,
            trouble: false,
        }
    }

    /// Takes what a source says.
    pub(super) fn hear(&mut self, input: Input) -> Vec<Heard> {
        match input {
            Input::Opened { conn, peer, reply, at } => {
                self.ring.port(false, at);
                self.light.garbage(false);
                self.light.no_fix(false);
                let peer = peer.map(|peer| peer.to_string());
                let detail = peer.clone().unwrap_or_default();
                self.open.insert(conn, self.ear(peer, reply));
                vec![Heard::Frame(Frame::Port { what: "opened", detail }, None)]
            }
            Input::Bytes { conn, bytes, at, peer, waited } => {
                self.feed(conn, &bytes, at, waited, peer.map(|peer| peer.to_string()))
            }
            Input::Quiet { conn, .. } => self.with(conn, Ear::quiet),
            Input::Lost { conn, why, at } => {
                let mut heard = self.close(conn, at);
                if self.open.is_empty() {
                    self.ring.port(true, at);
                    self.trouble |= !matches!(why, Lost::Stopped);
                }
                heard.push(Heard::Frame(Frame::Port { what: "lost", detail: format!("{why:?}") }, None));
                heard
            }
            Input::Refused { peer, at, why, text } => {
                let mut loss = Loss::decoder(why, &[], 0);
                loss.stage = Stage::Source;
                self.light.frame(at);
                let heard = self.refuse(loss, at, Some(peer.to_string()), false, None);
                let detail = format!("{peer}: {text}");
                // Whoever knocks without end gets a line as often as a letter: the log of the ports is a table too.
                let line = matches!(heard, Heard::Frame(..))
                    .then(|| Heard::Frame(Frame::Port { what: "refused", detail }, None));
                [heard].into_iter().chain(line).collect()
            }
        }
    }

    /// Says on the source's light what the test sheet shows; empty when nothing.
    pub(super) fn say(&self, advice: &str) {
        self.light.sheet(advice);
    }

    /// When [`Ears::tick`] has something to do.
    pub(super) fn deadline_us(&self) -> Option<i64> {
        let of = |ear: &Ear| match &ear.decoder {
            Decoder::Nmea(decoder) => decoder.deadline_us(),
            // A report of gpsd is whole by itself.
            Decoder::Gpsd(_) => None,
            // Its source says when the line was silent; here nobody knows whether it was listened to.
            Decoder::Scan(_) => None,
        };
        self.open.values().filter_map(of).min()
    }

    /// Ends epochs whose time has come.
    pub(super) fn tick(&mut self, now: Stamp) -> Vec<Heard> {
        if self.deadline_us().is_none_or(|due| due > now.mono_us) {
            return Vec::new();
        }
        let conns: Vec<Conn> = self.open.keys().copied().collect();
        conns.into_iter().flat_map(|conn| self.with(conn, |ear| ear.tick(now))).collect()
    }

    /// The source is done: what is unfinished is accounted for.
    pub(super) fn finish(&mut self, now: Stamp) -> Vec<Heard> {
        let conns: Vec<Conn> = self.open.keys().copied().collect();
        conns.into_iter().flat_map(|conn| self.close(conn, now)).collect()
    }

    fn ear(&self, peer: Option<String>, reply: Reply) -> Ear {
        let decoder = match &self.feed {
            Feed::Gps(gps) => {
                let options = NmeaOptions { floor_ms: BUILD_FLOOR_MS };
                match &gps.port {
                    Port::Gpsd(_, _, device) => Decoder::Gpsd(Box::new(GpsdDecoder::new(options, device.clone()))),
                    _ => Decoder::Nmea(Box::new(NmeaDecoder::new(options))),
                }
            }
            Feed::Scanner(scanner) => Decoder::Scan(Box::new(ScanDecoder::new(profile(scanner)))),
        };
        let has_keys = matches!(&self.feed, Feed::Scanner(scanner) if matches!(scanner.port, Port::Hid(_)));
        Ear { decoder, has_keys, sieve: Sieve::default(), peer, reply, reported: Reported::default() }
    }

    fn feed(&mut self, conn: Conn, bytes: &[u8], at: Stamp, waited: bool, peer: Option<String>) -> Vec<Heard> {
        if !self.open.contains_key(&conn) {
            // Its `Opened` was lost with a worker that was started anew in that moment.
            if matches!(&self.feed, Feed::Scanner(scanner) if scanner.reply) {
                // Its peer gets no answers any more: it comes again with all of this, and what is here may be half a frame.
                return Vec::new();
            }
            // The decoder begins anew and finds its feet.
            self.open.insert(conn, self.ear(None, None));
        }
        // Datagrams of two peers share no frame: what the one left open does not begin what the other says.
        let other = self.open.get(&conn).is_some_and(|ear| peer.is_some() && ear.peer != peer);
        let mut heard = if other { self.with(conn, Ear::quiet) } else { Vec::new() };
        let now_ms = self.trusted_ms(at);
        heard.extend(self.with(conn, |ear| {
            ear.trust(now_ms);
            if peer.is_some() {
                ear.peer = peer;
            }
            if !waited {
                ear.behind(at);
            }
            ear.sieve.take(bytes, at);
            ear.hear(bytes, at)
        }));
        heard
    }

    /// Whether the port was lost or turned to garbage since the last time this was asked.
    pub(super) const fn take_trouble(&mut self) -> bool {
        std::mem::replace(&mut self.trouble, false)
    }

    /// Listens no longer to the connection whose replies go here: nothing of it could be answered.
    pub(super) fn cut(&mut self, reply: &mpsc::Sender<String>) {
        self.open.retain(|_, ear| !ear.reply.as_ref().is_some_and(|one| one.same_channel(reply)));
    }

    fn close(&mut self, conn: Conn, at: Stamp) -> Vec<Heard> {
        let heard = self.with(conn, |ear| ear.lost(at));
        self.open.remove(&conn);
        heard
    }

    /// Lets one ear work and turns what it heard into frames.
    fn with(&mut self, conn: Conn, work: impl FnOnce(&mut Ear) -> Vec<Out>) -> Vec<Heard> {
        let Some(ear) = self.open.get_mut(&conn) else { return Vec::new() };
        let outs = work(ear);
        match &ear.decoder {
            Decoder::Nmea(_) | Decoder::Gpsd(_) => ear.sieve.pass(&self.ring),
            Decoder::Scan(decoder) => ear.sieve.settle(decoder, ear.has_keys, &self.ring),
        }
        let (peer, reply) = (ear.peer.clone(), ear.reply.clone());
        let drops_said = ear.reported.drops_said;
        let (good, bad) = ear.report(self.feed.id(), &self.tally);
        if ear.reported.drops_said != drops_said {
            self.light.drops(self.keeper.clock().now());
        }
        self.judge_line(good, bad);
        let mut heard: Vec<Heard> =
            outs.into_iter().map(|out| self.heard(out, peer.as_ref(), reply.as_ref())).collect();
        heard.append(&mut self.notes);
        heard
    }

    fn heard(&mut self, out: Out, peer: Option<&String>, reply: Option<&mpsc::Sender<String>>) -> Heard {
        match out {
            Out::Nmea(NmeaOut::Fix(fix, at)) => self.fix(fix, at),
            Out::Nmea(NmeaOut::NoFix(at)) => {
                self.light.frame(at);
                self.light.no_fix(true);
                self.lead(None, at);
                Heard::Counted { reason: None, is_frame: true }
            }
            Out::Nmea(NmeaOut::Loss(loss, at)) => self.refuse(loss, at, peer.cloned(), false, None),
            Out::Scan(ScanOut::Scan(scan, at)) => {
                self.light.frame(at);
                self.nth += 1;
                let when = self.keeper.time_of(at);
                Heard::Frame(Frame::Scan { scan, at, nth: self.nth, when, peer: peer.cloned() }, reply.cloned())
            }
            Out::Scan(ScanOut::Test(read, at)) => {
                self.light.frame(at);
                let (at_ms, _) = self.keeper.time_of(at);
                Heard::Frame(Frame::Test { read, at, at_ms, peer: peer.cloned() }, reply.cloned())
            }
            Out::Scan(ScanOut::Reject(loss, at)) => {
                self.light.frame(at);
                self.refuse(loss, at, peer.cloned(), true, reply.cloned())
            }
        }
    }

    fn fix(&mut self, mut fix: Box<Fix>, at: Stamp) -> Heard {
        self.light.frame(at);
        self.light.no_fix(false);
        let (now_ms, tq) = self.keeper.time_of(at);
        let now_ms = tq.is_trusted().then_some(now_ms);
        let keep_ms = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        self.doubter.judge(&mut fix, Some(at), Trusted { now_ms, keep_ms: Some(keep_ms) });
        fix.doubt.iter().for_each(|doubt| self.tally.doubted(self.feed.id(), *doubt));
        let Feed::Gps(gps) = &self.feed else { return Heard::Counted { reason: None, is_frame: true } };
        if gps.clock
            && fix.has_date
            && let Some(step) = self.keeper.hear(&gps.id, fix.time_ms, at)
        {
            tracing::warn!(by = step.by, by_ms = step.by_ms, "the trusted time has stepped");
            let who = if step.by == "ntp" { "NTP" } else { &step.by };
            let sentence = format!("The trusted time moved by {} ms, as {who} says.", step.by_ms);
            let when = self.keeper.time_of(at);
            self.notes.push(Heard::Frame(Frame::Note { name: "clock_stepped", sentence, at, when }, None));
        }
        let tq = if fix.has_date { tq } else { tq.min(TimeQuality::Rtc) };
        let room = Duration::from_secs(self.thin_s.load(Ordering::Acquire));
        let (id, pace) = (gps.id.clone(), Pace { track: gps.track_interval, parked: gps.parked_interval, room });
        if self.doubter.began_anew() {
            self.motion.begin_anew();
        }
        let is_late = self.motion.is_late(&fix, at);
        let part = self.part(&fix, at, is_late);
        let news = matches!(&part, Part::Leads { fence: Some(_), .. });
        let was_moving = self.motion.is_moving();
        let keep = self.motion.judge(&fix, at, is_late, pace, news, &self.limits);
        if was_moving != self.motion.is_moving() {
            tracing::debug!(source = id, starts = self.motion.starts(), moving = !was_moving, "the motion has changed");
        }
        Heard::Frame(Frame::Fix(Box::new(FixFrame { fix: *fix, at, tq, keep, part })), None)
    }

    /// What a fix does to its asset.
    fn part(&mut self, fix: &Fix, at: Stamp, is_late: bool) -> Part {
        let leads = self.lead(Some(fix), at);
        match &self.carrier {
            Some(_) if leads && !fix.doubt.iter().all(|doubt| doubt.may_move()) => Part::Doubted,
            Some(_) if leads && is_late => Part::Late,
            Some(carrier) if leads => carrier.step(fix),
            _ => Part::Spare,
        }
    }

    /// Whether this receiver moves its asset with this epoch. A switch is noted.
    fn lead(&mut self, fix: Option<&Fix>, at: Stamp) -> bool {
        let (Some(carrier), Feed::Gps(gps)) = (&self.carrier, &self.feed) else { return false };
        let (leads, switch) = carrier.hear(&gps.id, fix, at);
        if let Some(switch) = switch {
            let why = if switch.is_back { "is as good again and ranks first" } else { "sees better" };
            tracing::warn!(
                asset = carrier.asset(),
                from = switch.from,
                to = switch.to,
                "another receiver leads: it {why}"
            );
            let sentence =
                format!("{} is moved by {} now, no longer by {}: it {why}.", gps.asset, switch.to, switch.from);
            let when = self.keeper.time_of(at);
            let lead = Frame::Lead { asset: gps.asset.clone(), receiver: switch.to };
            self.notes.push(Heard::Frame(lead, None));
            self.notes.push(Heard::Frame(Frame::Note { name: "receiver_switched", sentence, at, when }, None));
        }
        leads
    }

    fn trusted_ms(&self, at: Stamp) -> Option<UnixMs> {
        let (now_ms, tq) = self.keeper.time_of(at);
        tq.is_trusted().then_some(now_ms)
    }

    fn refuse(&mut self, loss: Loss, at: Stamp, peer: Option<String>, is_frame: bool, reply: Reply) -> Heard {
        self.tally.lose(self.feed.id(), &loss);
        let reason = loss.reason;
        if self.sampler.keeps(reason, at) {
            return Heard::Frame(Frame::Refused { loss, at, peer, is_frame }, reply);
        }
        match reply {
            // Its answer keeps its place among the others.
            Some(_) => Heard::Frame(Frame::Sampled { reason, n: 1, is_frame }, reply),
            None => Heard::Counted { reason: Some(reason), is_frame },
        }
    }

    /// More refused bytes than good ones for a while is a wrong baud rate or a broken line.
    fn judge_line(&mut self, good: u64, bad: u64) {
        if good > 0 {
            self.light.good();
        }
        self.lately = (self.lately.0 + good, self.lately.1 + bad);
        if self.lately.0 + self.lately.1 >= GARBAGE_BYTES {
            let is_garbage = self.lately.1 > self.lately.0;
            self.light.garbage(is_garbage);
            self.trouble |= is_garbage;
            self.lately = (0, 0);
        }
    }
}

/// How a scanner writes its reads.
pub(super) fn profile(scanner: &Scanner) -> ScanProfile {
    ScanProfile {
        terminators: scanner.terminators.clone(),
        start: scanner.start.clone(),
        prefix: scanner.prefix.clone(),
        suffix: scanner.suffix.clone(),
        code_id: if scanner.symbol_code_id { CodeId::Symbol } else { CodeId::None },
        noread: scanner.noread.clone(),
        layout: Layout::from_word(&scanner.layout).unwrap_or_default(),
        charset: if scanner.latin_1 { Charset::Latin1 } else { Charset::Utf8 },
        idle_ms: i64::try_from(scanner.idle.as_millis()).unwrap_or(i64::MAX),
    }
}

enum Out {
    Nmea(NmeaOut),
    Scan(ScanOut),
}

impl Ear {
    fn hear(&mut self, bytes: &[u8], at: Stamp) -> Vec<Out> {
        match &mut self.decoder {
            Decoder::Nmea(decoder) => collect(Out::Nmea, |out| decoder.feed(bytes, at, out)),
            Decoder::Gpsd(decoder) => collect(Out::Nmea, |out| decoder.feed(bytes, at, out)),
            Decoder::Scan(decoder) if self.has_keys => collect(Out::Scan, |out| decoder.feed_keys(bytes, at, out)),
            Decoder::Scan(decoder) => collect(Out::Scan, |out| decoder.feed(bytes, at, out)),
        }
    }

    /// What time it is, for receivers whose dates cannot be right.
    fn trust(&mut self, now_ms: Option<UnixMs>) {
        match &mut self.decoder {
            Decoder::Nmea(decoder) => decoder.trust(now_ms),
            Decoder::Gpsd(decoder) => decoder.trust(now_ms),
            Decoder::Scan(_) => {}
        }
    }

    /// The bytes that come next had been waiting: the time since the last ones is no silence of the line.
    fn behind(&mut self, at: Stamp) {
        if let Decoder::Scan(decoder) = &mut self.decoder {
            decoder.behind(at);
        }
    }

    fn tick(&mut self, now: Stamp) -> Vec<Out> {
        match &mut self.decoder {
            Decoder::Nmea(decoder) => collect(Out::Nmea, |out| decoder.quiet(now.mono_us, out)),
            Decoder::Gpsd(_) | Decoder::Scan(_) => Vec::new(),
        }
    }

    fn quiet(&mut self) -> Vec<Out> {
        match &mut self.decoder {
            Decoder::Nmea(_) | Decoder::Gpsd(_) => Vec::new(),
            Decoder::Scan(decoder) => collect(Out::Scan, |out| decoder.idle(i64::MAX, out)),
        }
    }

    fn lost(&mut self, at: Stamp) -> Vec<Out> {
        match &mut self.decoder {
            Decoder::Nmea(decoder) => collect(Out::Nmea, |out| decoder.finish(out)),
            Decoder::Gpsd(decoder) => collect(Out::Nmea, |out| decoder.finish(out)),
            Decoder::Scan(decoder) => collect(Out::Scan, |out| decoder.lost(at, out)),
        }
    }

    /// Brings the metrics up to the decoder's counts; answers good and refused bytes since the last time.
    fn report(&mut self, source: &str, tally: &Tally) -> (u64, u64) {
        match &self.decoder {
            Decoder::Nmea(decoder) => self.reported.nmea(source, tally, decoder.counts()),
            Decoder::Gpsd(decoder) => self.reported.nmea(source, tally, decoder.counts()),
            Decoder::Scan(decoder) => self.reported.scan(source, tally, decoder.counts()),
        }
    }
}

fn collect<T>(wrap: impl Fn(T) -> Out, decode: impl FnOnce(&mut Vec<T>)) -> Vec<Out> {
    let mut out = Vec::new();
    decode(&mut out);
    out.into_iter().map(wrap).collect()
}
