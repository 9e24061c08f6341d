//! What the register becomes, in one transaction: all of a list or nothing. What was known by its code goes on under its
//! name, and what is taken out goes on under its first code: a thing does not leave the yard because a list changed.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{AssetState, Carried, Change, Done, Refused, Registered, Thing, Why};
use crate::store::{REGISTER_MAX, Result, Txn};

use super::hand::{self, Hand};
use super::list::{Findings, Row, shown};

/// What is done with one asset.
struct Plan {
    at: String,
    thing: Thing,
    /// The keys of its codes; none: they stay as they are.
    keys: Option<Vec<String>>,
    what: Registered,
}

/// Puts rows into the register; with `replace` what they do not name is taken out.
pub(super) fn put(
    txn: &mut Txn<'_>,
    hand: &Hand<'_>,
    rows: &[Row],
    replace: bool,
) -> Result<std::result::Result<Carried, Refused>> {
    let plans = rows.iter().map(|row| plan(txn, row)).collect::<Result<Vec<_>>>()?;
    let (known, named) = (txn.things()?, rows.iter().map(|row| row.asset.as_str()).collect::<BTreeSet<_>>());
    let leaving: Vec<&str> =
        known.iter().map(|thing| thing.asset.as_str()).filter(|asset| replace && !named.contains(asset)).collect();
    let count = |what| plans.iter().filter(|plan| plan.what == what).count();
    let (added, changed, unchanged) =
        (count(Registered::Added), count(Registered::Changed), count(Registered::Unchanged));
    if known.len() + added - leaving.len() > REGISTER_MAX {
        let message = format!("the register would hold {} assets", known.len() + added - leaving.len());
        return Ok(Err(Refused::new(Why::Invalid, message, format!("It holds {REGISTER_MAX}; take some out first."))));
    }
    if let Err(refused) = conflicts(txn, &plans, &leaving)? {
        return Ok(Err(refused));
    }
    let mut touched = BTreeSet::new();
    for asset in &leaving {
        touched.extend(take_out(txn, hand, asset)?.1);
    }
    // Codes that move between assets of one list are free before they are given.
    for plan in plans.iter().filter(|plan| plan.keys.is_some() && plan.what == Registered::Changed) {
        txn.clear_keys(&plan.thing.asset)?;
    }
    for plan in plans.iter().filter(|plan| plan.what != Registered::Unchanged) {
        txn.put_thing(&plan.thing)?;
        if let Some(keys) = &plan.keys {
            let moved = go_on_as(txn, hand, keys, &plan.thing.asset)?;
            touched.extend((!moved.is_empty()).then(|| plan.thing.asset.clone()));
            touched.extend(moved);
            txn.set_keys(&plan.thing.asset, keys)?;
        }
    }
    let done = Done::Imported { added, changed, unchanged, removed: leaving.len() };
    Ok(Ok(Carried { done, touched: touched.into_iter().collect() }))
}

/// Takes an asset out of the register. Answers the name its place goes on under, and whose states changed.
pub(super) fn take_out(txn: &mut Txn<'_>, hand: &Hand<'_>, asset: &str) -> Result<(Option<String>, Vec<String>)> {
    let keys = txn.keys_of(asset)?;
    txn.remove_thing(asset)?;
    if hand.moved_by_receiver(asset) {
        // Its receiver names it.
        return Ok((Some(asset.to_owned()), vec![asset.to_owned()]));
    }
    let Some(key) = keys.into_iter().next() else {
        if let Some(state) = txn.asset(asset)? {
            hand::renamed(txn, hand, &state, Change::Exit, state.place.as_deref(), "")?;
            txn.forget_asset(asset)?;
        }
        return Ok((None, vec![asset.to_owned()]));
    };
    let moved = go_on_as(txn, hand, &[asset.to_owned()], &key)?;
    Ok(((!moved.is_empty()).then(|| key.clone()), vec![asset.to_owned(), key]))
}

fn plan(txn: &Txn<'_>, row: &Row) -> Result<Plan> {
    let known = txn.thing(&row.asset)?;
    let old = known.clone().unwrap_or_else(|| Thing { asset: row.asset.clone(), ..Thing::default() });
    let thing = Thing {
        asset: old.asset,
        name: row.name.clone().unwrap_or(old.name),
        kind: row.kind.clone().unwrap_or(old.kind),
        codes: row.codes.as_ref().map_or(old.codes, |codes| codes.iter().map(|code| code.text.clone()).collect()),
    };
    let keys = row.codes.as_ref().map(|codes| {
        let mut keys: Vec<String> = Vec::new();
        for key in codes.iter().flat_map(|code| &code.keys) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    });
    // A better decoder may read other keys from the same codes.
    let same_keys = match &keys {
        Some(keys) => txn.keys_of(&thing.asset)? == *keys,
        None => true,
    };
    let what = match &known {
        None => Registered::Added,
        Some(known) if *known == thing && same_keys => Registered::Unchanged,
        Some(_) => Registered::Changed,
    };
    Ok(Plan { at: row.at.clone(), thing, keys, what })
}

/// Codes that belong to an asset which keeps them.
fn conflicts(txn: &Txn<'_>, plans: &[Plan], leaving: &[&str]) -> Result<std::result::Result<(), Refused>> {
    let giving: BTreeMap<&str, &Plan> =
        plans.iter().filter(|plan| plan.keys.is_some()).map(|plan| (plan.thing.asset.as_str(), plan)).collect();
    let leaving: BTreeSet<&str> = leaving.iter().copied().collect();
    let mut findings = Findings::default();
    for plan in plans {
        for key in plan.keys.iter().flatten() {
            let Some(owner) = txn.registered(key)? else { continue };
            if owner == plan.thing.asset || giving.contains_key(owner.as_str()) || leaving.contains(owner.as_str()) {
                continue;
            }
            let what = format!("{} belongs to {} already", shown(key), shown(&owner));
            findings.add(&plan.at, "codes", &what, "take it off that asset first, or write both in one list");
        }
    }
    Ok(findings.refuse(Why::Conflict))
}

/// Lets what is known of some names go on under another, the newest of them all; answers the names that were known.
fn go_on_as(txn: &mut Txn<'_>, hand: &Hand<'_>, from: &[String], to: &str) -> Result<Vec<String>> {
    let own = txn.asset(to)?;
    let was_at = own.as_ref().and_then(|own| own.place.clone());
    let (mut newest, mut moved) = (own, Vec::new());
    for name in from {
        let Some(old) = txn.asset(name)? else { continue };
        hand::renamed(txn, hand, &old, Change::Exit, old.place.as_deref(), to)?;
        txn.rename_history(name, to, newest.as_ref().is_none_or(|own| own.received < old.received))?;
        txn.forget_asset(name)?;
        newest = Some(newer(newest, AssetState { asset: to.to_owned(), ..old }));
        moved.push(name.clone());
    }
    let Some(state) = newest.filter(|_| !moved.is_empty()) else { return Ok(moved) };
    if was_at != state.place {
        let from = moved.last().map_or("", String::as_str);
        hand::renamed(txn, hand, &state, Change::Exit, was_at.as_deref(), from)?;
        hand::renamed(txn, hand, &state, Change::Enter, state.place.as_deref(), from)?;
    }
    txn.set_asset(&state)?;
    Ok(moved)
}

/// The state that was received later, with the position of the other where it has none.
fn newer(own: Option<AssetState>, other: AssetState) -> AssetState {
    match own {
        Some(own) if own.received >= other.received => AssetState { position: own.position.or(other.position), ..own },
        Some(own) => AssetState { position: other.position.or(own.position), ..other },
        None => other,
    }
}
