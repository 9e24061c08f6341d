//! Places that are named where nobody has drawn them. A read point needs no zone, so it is allowed; mostly it is a slip of the pen.

use std::path::Path;

use super::{Failure, load, plan};
use crate::config::{self, Config, ReadPoint, Scanner};
use crate::plan::Plan;

/// The plan in force; none where there is none.
pub(super) fn plan_of(config: &Path) -> Result<Option<Plan>, Failure> {
    let plan = plan::text(config, None)?.and_then(|text| Plan::parse(&text).ok());
    Ok(plan.filter(|plan| !plan.is_empty()))
}

/// What is to be said of each scanner whose place is not in the plan.
pub(super) fn strange(plan: &Plan, config: &Config) -> Vec<String> {
    let told = |(id, place): (&str, &str)| {
        let text = format!("scanner {id} reads at {place}, which is not in the plan");
        Some(text + &near(place, zones(plan)))
    };
    read_points(&config.scanners).filter(|(_, place)| plan.zone(place).is_none()).filter_map(told).collect()
}

/// What is to be said of a place where something is put; none when a zone or a scanner has it, or nothing is drawn.
pub(super) fn doubt(config: &Path, place: &str) -> Option<String> {
    let scanners = load(config).map(|loaded| loaded.config.scanners).unwrap_or_default();
    // Who may not look at the plan has been told so by the order itself.
    let plan = plan_of(config).ok().flatten()?;
    let known = || zones(&plan).chain(read_points(&scanners).map(|(_, place)| place));
    known()
        .all(|one| one != place)
        .then(|| format!("{place} is not in the plan, and no scanner reads there{}", near(place, known())))
}

fn zones(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.zones().iter().map(|zone| zone.id.as_str())
}

/// Scanners that read at a place, each with that.
fn read_points(scanners: &[Scanner]) -> impl Iterator<Item = (&str, &str)> {
    scanners.iter().filter_map(|scanner| match &scanner.place {
        ReadPoint::Place(place) => Some((scanner.id.as_str(), place.as_str())),
        ReadPoint::Aboard(_) | ReadPoint::Unknown => None,
    })
}

fn near<'a>(place: &str, known: impl Iterator<Item = &'a str>) -> String {
    config::nearest(place, known).map_or_else(String::new, |near| format!("; nearest: {near}"))
}
