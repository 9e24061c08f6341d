//! The uplink against a broker whose greeting and goodbye are not what a broker says.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What it says.
#[derive(Clone, Default)]
struct Lie {
    /// Properties of its CONNACK.
    greeting: Vec<u8>,
    /// Its answer to each filter.
    suback: u8,
    /// What it sends behind its SUBACK before it hangs up; nothing: it stays.
    parting: Vec<u8>,
    /// It hangs up when it is greeted.
    is_mute: bool,
}

#[derive(Clone)]
struct Liar {
    port: u16,
    lie: Arc<Mutex<Lie>>,
    guests: Arc<Mutex<JoinSet<Option<()>>>>,
    pings: Arc<AtomicI64>,
}

impl Liar {
    async fn start(tasks: &mut JoinSet<()>, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let liar = Self { port, lie: Arc::new(Mutex::new(lie)), guests: Arc::default(), pings: Arc::default() };
        let host = liar.clone();
        tasks.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (lie, pings) = (host.lie.lock().unwrap().clone(), Arc::clone(&host.pings));
                host.guests.lock().unwrap().spawn(serve(socket, lie, pings));
            }
        });
        liar
    }

    /// From now on it is as a broker should be; whoever is there has to come again.
    fn mend(&self) {
        *self.lie.lock().unwrap() = Lie::default();
        self.guests.lock().unwrap().abort_all();
    }
}

/// Answers until either ends.
async fn serve(mut socket: TcpStream, lie: Lie, pings: Arc<AtomicI64>) -> Option<()> {
    loop {
        let first = socket.read_u8().await.ok()?;
        let mut length = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = socket.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.ok()?;
        let reply = match first >> 4 {
            1 if lie.is_mute => return None,
            1 => packet(0x20, &[&[0, 0, u8::try_from(lie.greeting.len()).unwrap()], lie.greeting.as_slice()].concat()),
            3 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                packet(0x40, &body[2 + topic..4 + topic])
            }
            8 => {
                let (mut at, mut codes) = (3, Vec::new());
                while at < body.len() {
                    at += 3 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
                    codes.push(lie.suback);
                }
                packet(0x90, &[&body[..2], &[0], &codes].concat())
            }
            12 => {
                pings.fetch_add(1, Ordering::Relaxed);
                packet(0xD0, &[])
            }
            _ => return None,
        };
        socket.write_all(&reply).await.ok()?;
        if first >> 4 == 8 && !lie.parting.is_empty() {
            socket.write_all(&lie.parting).await.ok()?;
            socket.shutdown().await.ok()?;
            // What still comes is read: else the goodbye is lost with it.
            tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.ok()?;
            return None;
        }
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut left) = (vec![first], body.len());
    while left >= 0x80 {
        packet.push(u8::try_from(left & 0x7F).unwrap() | 0x80);
        left >>= 7;
    }
    packet.push(u8::try_from(left).unwrap());
    packet.extend_from_slice(body);
    packet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_wants_no_keep_alive_keeps_its_connection() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let greeting = vec![0x13, 0, 0];
    let liar = Liar::start(&mut tasks, Lie { greeting, ..Lie::default() }).await;
    rig.append(&[Kind::Scan; 10]).await;
    let stop = rig.uplink(config(liar.port), quick());
    until("all to be sent", || rig.is_drained()).await;
    // The client pings at once, and then as the configuration says.
    until("a second ping", || liar.pings.load(Ordering::Relaxed) >= 2).await;
    assert!(rig.counted("uplink_reconnects_total").is_empty(), "the connection stood");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_through_which_no_event_fits_makes_no_letters_and_gets_all_once_it_is_mended() {
    let no_message = vec![0x21, 0, 0];
    let no_acknowledgement = vec![0x24, 0];
    let tiny_packets = vec![0x27, 0, 0, 3, 0xFF];
    for greeting in [no_message, no_acknowledgement, tiny_packets] {
        let mut rig = Rig::new();
        let mut tasks = JoinSet::new();
        let liar = Liar::start(&mut tasks, Lie { greeting, ..Lie::default() }).await;
        rig.append_with(&[Kind::Scan; 10], "x".repeat(1_000)).await;
        let stop = rig.uplink(config(liar.port), quick());
        until("the alarm", || rig.alarm("broker_limits")).await;
        until("a second try", || rig.total("uplink_reconnects_total") > 1).await;
        assert_eq!((rig.letters(), rig.count("unsent")), (vec![], 10));
        liar.mend();
        until("all to be sent", || rig.is_drained()).await;
        until("the end of the alarm", || !rig.alarm("broker_limits")).await;
        assert_eq!(rig.count("sent"), 10);
        rig.assert_balanced();
        stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_not_hear_commands_says_so_until_it_may() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let liar = Liar::start(&mut tasks, Lie { suback: 0x87, ..Lie::default() }).await;
    rig.append(&[Kind::Scan; 3]).await;
    let stop = rig.uplink(config(liar.port), quick());
    until("the alarm", || rig.alarm("commands_refused")).await;
    until("all to be sent all the same", || rig.is_drained()).await;
    until("a line of the log", || rig.log().iter().any(|line| line.starts_with("deaf"))).await;
    liar.mend();
    until("the end of the alarm", || !rig.alarm("commands_refused")).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_says_in_parting_is_a_short_plain_line() {
    let mut rig = Rig::new();
    let mut tasks = JoinSet::new();
    let words = format!("go\u{1b}[31m\r\naway{}", "x".repeat(40_000));
    let mut body = vec![0x89];
    let length = 3 + words.len();
    body.extend([u8::try_from(length & 0x7F).unwrap() | 0x80, u8::try_from((length >> 7) & 0x7F).unwrap() | 0x80]);
    body.push(u8::try_from(length >> 14).unwrap());
    body.push(0x1F);
    body.extend(u16::try_from(words.len()).unwrap().to_be_bytes());
    body.extend(words.as_bytes());
    let liar = Liar::start(&mut tasks, Lie { parting: packet(0xE0, &body), ..Lie::default() }).await;
    let stop = rig.uplink(config(liar.port), quick());
    let said = || rig.state().map(|state| state.last_error).filter(|error| error.contains("ServerBusy"));
    until("its words", || said().is_some()).await;
    let said = said().unwrap();
    assert!(said.starts_with("the broker ended the connection, ServerBusy: go [31m  awayxxx"), "{said}");
    assert!(said.len() < 300 && !said.chars().any(char::is_control), "{said}");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_hangs_up_on_a_greeting_in_the_clear_is_told_as_one_that_may_want_tls() {
    for protocol in [Protocol::V5, Protocol::V311] {
        let mut rig = Rig::new();
        let mut tasks = JoinSet::new();
        let liar = Liar::start(&mut tasks, Lie { is_mute: true, ..Lie::default() }).await;
        let stop = rig.uplink(Uplink { protocol, ..config(liar.port) }, quick());
        until("its words", || {
            rig.state()
                .is_some_and(|state| state.last_error.contains("a port for TLS does that (mqtts://, 8883 mostly)"))
        })
        .await;
        stop.cancel();
    }
}
