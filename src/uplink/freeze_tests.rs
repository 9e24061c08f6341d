//! What is read for sending stays as it was read: no repeat is counted onto it any more.

use super::*;

/// Events behind which the log is read one turn of the writer a page.
const FAR: i64 = 3 * 4096;

async fn read(kit: &Arc<Kit>, after: i64, limit: usize) -> Vec<Queued> {
    let read = figures::read(Arc::clone(kit), Track::first(Lane::Scan), Seq(after), limit);
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("an answer").unwrap().0
}

impl Rig {
    /// A read that repeats an event, as intake counts it.
    async fn repeat(&self, seq: i64) {
        let published = Arc::clone(&self.published);
        let repeat =
            move |txn: &mut crate::store::Txn<'_>| txn.repeat_onto(Seq(seq), Seq(published.load(Ordering::Acquire)));
        self.store.submit(Group::Now, repeat).await.unwrap();
    }
}

fn repeats(read: &[Queued], seq: i64) -> i64 {
    let one = read.iter().find(|one| one.seq == Seq(seq)).unwrap();
    serde_json::from_str::<serde_json::Value>(&one.message.payload).unwrap()["repeats"].as_i64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_read_without_the_writer_and_no_repeat_is_told_in_two_ways() {
    let rig = Rig::new();
    rig.append(&vec![Kind::Scan; usize::try_from(FAR).unwrap() + 1_000]).await;
    let kit = Arc::new(rig.kit(config(1), quick()));
    rig.repeat(100).await;
    let first = read(&kit, 0, 200).await;
    assert_eq!((repeats(&first, 99), repeats(&first, 100)), (0, 1));
    rig.repeat(100).await;
    rig.repeat(300).await;
    rig.repeat(5_000).await;

    let (go, gate) = std::sync::mpsc::sync_channel::<()>(1);
    let store = rig.store.clone();
    let mut busy = JoinSet::new();
    busy.spawn(async move { store.submit(Group::Now, move |_| Ok(gate.recv().is_ok())).await.unwrap() });
    let next = read(&kit, 0, 400).await;
    assert_eq!(next.len(), 400, "while the writer is busy");
    assert_eq!((repeats(&next, 100), repeats(&next, 300)), (1, 0), "frozen with the first read");
    go.send(()).unwrap();
    assert!(busy.join_next().await.unwrap().unwrap());

    let far = read(&kit, 4_900, 200).await;
    assert_eq!(repeats(&far, 5_000), 1, "counted before anything near it was read");
    rig.repeat(5_000).await;
    assert_eq!(repeats(&read(&kit, 4_900, 200).await, 5_000), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_frozen_only_as_far_as_it_is_read() {
    let rig = Rig::new();
    rig.append(&[Kind::Scan; 300]).await;
    let kit = Arc::new(rig.kit(config(1), quick()));
    read(&kit, 0, 200).await;
    rig.repeat(200).await;
    rig.repeat(201).await;
    let both = read(&kit, 0, 300).await;
    assert_eq!((repeats(&both, 200), repeats(&both, 201)), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_metered_line_nothing_is_frozen_hours_before_it_goes() {
    let rig = Rig::new();
    rig.append(&vec![Kind::Scan; usize::try_from(FAR).unwrap() + 1_000]).await;
    let kit = Arc::new(rig.kit(Uplink { max_per_s: 5, ..config(1) }, quick()));
    read(&kit, 0, 200).await;
    rig.repeat(300).await;
    assert_eq!(repeats(&read(&kit, 0, 400).await, 300), 1);
}
