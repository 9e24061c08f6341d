//! Another plan while the truck is in the yard: what was judged stays judged, what comes is judged by it.

use super::bulk_tests::clerk_of;
use super::history_tests::{Drawn, MORNING_MS, YARD, drawn, drive_in, rows, told};
use super::orders::{Answer, Clerk};
use super::tests::Bench;
use crate::domain::{Done, Order, Refused, Row, Why};
use crate::health::{State, ZonesState};
use crate::plan::Plan;

/// The yard is called the hall from now on, and there is another gate.
const HALL: [Drawn; 3] = [
    ("gate", "gate", [100.0, 106.0, -20.0, 20.0]),
    ("far-gate", "gate", [550.0, 556.0, -20.0, 20.0]),
    ("hall", "building", [200.0, 500.0, -50.0, 50.0]),
];

fn clerk(bench: &Bench) -> Clerk {
    Clerk { ground: bench.node.carriers["TRK-07"].ground.clone(), ..clerk_of(bench) }
}

async fn put(clerk: &Clerk, text: &str, expect: Option<i64>) -> Answer {
    clerk.carry_out(Order::Plan { bytes: text.into(), expect }, "uid 0").await
}

async fn place(bench: &Bench) -> Option<String> {
    bench.node.store.read(|reader| reader.asset("TRK-07")).await.unwrap().unwrap().place
}

fn ids(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.id.to_string()).collect()
}

#[tokio::test]
async fn a_new_plan_judges_what_comes_after_it_and_takes_back_nothing_of_what_was_judged() {
    let bench = Bench::trusted_on(Plan::parse(&drawn(&YARD)).unwrap(), &["gps0"], MORNING_MS);
    bench.clock.advance_ms(3_600_000);
    let clerk = clerk(&bench);
    drive_in(&bench, &[(0, 300.0, 0.0), (100, 300.0, 0.0)]).await;
    let before = rows(&bench).await;
    assert_eq!(told(&before), ["0 enter yard"]);

    let answer = put(&clerk, &drawn(&HALL), Some(0)).await.unwrap();
    assert_eq!(answer.done, Done::Planned { rev: 1, zones: 3, after_ms: MORNING_MS + 100_000 });
    assert_eq!(bench.node.board.get("zones", ""), Some(State::Zones(ZonesState { rev: 1, zones: 3 })));
    assert_eq!(
        (rows(&bench).await, place(&bench).await.as_deref()),
        (before.clone(), Some("yard")),
        "until it is seen"
    );

    // The next fix, and then one of before the change that would have passed the gate, had it come in time.
    drive_in(&bench, &[(200, 300.0, 0.0), (50, 103.0, 0.0)]).await;
    let then = rows(&bench).await;
    assert_eq!(told(&then), ["0 enter yard", "200 exit yard", "200 enter hall"]);
    assert_eq!(ids(&then)[..before.len()], ids(&before), "the same facts under the same ids");
    assert_eq!(then.iter().filter(|row| row.ts_ms == MORNING_MS + 50_000).count(), 1, "the late fix itself is stored");

    // One of after it is judged by the plan that held then.
    drive_in(&bench, &[(300, 300.0, 0.0), (250, 103.0, 0.0)]).await;
    let last = told(&rows(&bench).await);
    assert!(last[3..].iter().any(|one| one == "250 enter gate late"), "{last:?}");
    assert_eq!(place(&bench).await.as_deref(), Some("hall"));

    // A plan without zones lets the truck out with its next fix.
    put(&clerk, r#"{"type":"FeatureCollection","features":[]}"#, Some(1)).await.unwrap();
    drive_in(&bench, &[(400, 300.0, 0.0)]).await;
    assert_eq!((told(&rows(&bench).await).last().unwrap().as_str(), place(&bench).await), ("400 exit hall", None));
}

#[tokio::test]
async fn a_plan_that_somebody_else_has_changed_or_that_is_wrong_is_refused_and_nothing_is_kept() {
    let bench = Bench::trusted_on(Plan::empty(), &["gps0"], MORNING_MS);
    let clerk = clerk(&bench);
    put(&clerk, &drawn(&YARD), None).await.unwrap();
    put(&clerk, &drawn(&HALL), Some(1)).await.unwrap();
    let Refused { why, message, now, .. } = put(&clerk, &drawn(&YARD), Some(1)).await.unwrap_err();
    assert_eq!(
        (why, message.as_str(), now),
        (Why::PlanChanged, "the plan was changed meanwhile: it is revision 2 now", Some(2))
    );

    let bad = "{\"type\":\"FeatureCollection\",\"features\":[\n{\"type\":\"Feature\",\"properties\":{\"id\":\"a/b\",\"kind\":\"dock\"},\"geometry\":null}]}";
    let refused = put(&clerk, bad, None).await.unwrap_err();
    assert_eq!((refused.why, refused.findings.len()), (Why::Invalid, 2), "{refused:?}");
    assert!(refused.findings[0].starts_with("2:") && refused.findings[0].contains("feature 1 \"a/b\""), "{refused:?}");
    let refused = clerk.carry_out(Order::Plan { bytes: vec![0xff], expect: None }, "uid 0").await.unwrap_err();
    assert!(refused.findings[0].contains("no UTF-8"), "{refused:?}");
    let filed = Clerk { plan_file: Some("/etc/waypost/zones.geojson".into()), ..clerk.clone() };
    let refused = put(&filed, &drawn(&YARD), None).await.unwrap_err();
    assert_eq!(
        (refused.why, refused.message.as_str()),
        (Why::PlanIsFile, "the plan of this node is the file /etc/waypost/zones.geojson")
    );

    let kept = bench.node.store.read(|reader| reader.plan(None)).await.unwrap().unwrap();
    assert_eq!((kept.rev, kept.who.as_str(), kept.text), (2, "uid 0", drawn(&HALL)));
    let sql = rusqlite::Connection::open(bench.dir.path().join("waypost.db")).unwrap();
    let mut audit = sql.prepare("select who, detail from audit where what = 'plan'").unwrap();
    let rows = audit.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let rows: Vec<(String, String)> = rows.map(Result::unwrap).collect();
    let said = ["3 zones, 3 of them new, 0 changed; 0 gone", "3 zones, 2 of them new, 0 changed; 2 gone: yard, dock-3"];
    assert_eq!(rows, said.map(|detail| ("uid 0".to_owned(), detail.to_owned())));
}

#[tokio::test]
async fn the_last_eight_plans_are_kept_and_one_more_takes_the_oldest_out() {
    let bench = Bench::trusted_on(Plan::empty(), &["gps0"], MORNING_MS);
    let clerk = clerk(&bench);
    for rev in 0..10 {
        put(&clerk, &drawn(if rev % 2 == 0 { &YARD } else { &HALL }), Some(rev)).await.unwrap();
    }
    for (rev, text) in [(Some(2), None), (Some(3), Some(drawn(&YARD))), (None, Some(drawn(&HALL)))] {
        let kept = bench.node.store.read(move |reader| reader.plan(rev)).await.unwrap();
        assert_eq!(kept.map(|kept| kept.text), text, "{rev:?}");
    }
}
