//! Routing: which destinations each record of a batch goes to.
//!
//! * **What enters**: a batch and the verdicts of its pipeline.
//! * **What leaves**: for each destination concerned, the [`Selection`] of records it gets; each
//!   record at most once for a destination, however many orders name it.
//! * **Limits**: none of its own; a look-up is one hash of the app, whatever the number of drains.
//! * **When it fails**: it does not; records that nobody wants are counted by the caller.
//! * **May import**: `telemetry`, `config`.

use std::collections::HashMap;

use logboom_host::Verdicts;
use logboom_record::{Batch, Selection, app_hash};

/// The index of a destination.
pub type DestinationIndex = usize;

/// The immutable table: drains by app, and routes by index.
#[derive(Debug, Default)]
pub struct Table {
    /// Apps by the hash of their key; those that share a hash stand together.
    apps: HashMap<u32, Vec<App>>,
    /// Destinations that get every record that is kept, whatever its app.
    all: Vec<DestinationIndex>,
    /// Destination of each route.
    routes: Vec<DestinationIndex>,
}

#[derive(Debug)]
struct App {
    key: Box<[u8]>,
    destinations: Vec<DestinationIndex>,
}

/// What routing decided for a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// Destinations with their records.
    pub deliveries: Vec<(DestinationIndex, Selection)>,
    /// Living records with at least one destination.
    pub routed: usize,
    /// Living records without any.
    pub unrouted: usize,
}

impl Table {
    /// A table of drains (app or `*`, destination) and of the destinations of the routes.
    #[must_use]
    pub fn new(drains: &[(String, DestinationIndex)], routes: Vec<DestinationIndex>) -> Self {
        let mut table = Self { routes, ..Self::default() };
        for (app, destination) in drains {
            let list = if app == "*" { &mut table.all } else { table.app(app.as_bytes()) };
            if !list.contains(destination) {
                list.push(*destination);
            }
        }
        table
    }

    fn app(&mut self, key: &[u8]) -> &mut Vec<DestinationIndex> {
        let apps = self.apps.entry(app_hash(key)).or_default();
        let at = apps.iter().position(|app| *app.key == *key).unwrap_or(apps.len());
        if at == apps.len() {
            apps.push(App { key: key.into(), destinations: Vec::new() });
        }
        &mut apps[at].destinations
    }

    fn find(&self, hash: u32, key: &[u8]) -> &[DestinationIndex] {
        let apps = self.apps.get(&hash).map_or(&[][..], Vec::as_slice);
        apps.iter().find(|app| *app.key == *key).map_or(&[], |app| &app.destinations)
    }

    /// Routes a batch. `always` lists the routes that take every record of the pipeline.
    #[must_use]
    pub fn route(&self, batch: &Batch, verdicts: &Verdicts, always: &[usize]) -> Routed {
        let mut plan = Plan { batch, verdicts, lists: Vec::new() };
        for route in always {
            plan.add_living(self.routes[*route]);
        }
        for (route, destination) in self.routes.iter().enumerate() {
            let sent = verdicts.sent_to(route);
            if !sent.is_empty() {
                plan.add(*destination, Selection::Some(sent));
            }
        }
        for destination in &self.all {
            plan.add_kept(*destination);
        }
        if !self.apps.is_empty() {
            self.route_apps(&mut plan);
        }
        plan.finish()
    }

    fn route_apps(&self, plan: &mut Plan<'_>) {
        let mut last: (u32, &[u8], &[DestinationIndex]) = (0, &[], &[]);
        let mut lists: HashMap<DestinationIndex, Vec<u32>> = HashMap::new();
        for (index, record) in (0u32..).zip(plan.batch.records()) {
            if !plan.verdicts.is_kept(index as usize) {
                continue;
            }
            let (hash, key) = (record.app_hash(), record.app());
            if last.0 != hash || last.1 != key {
                last = (hash, key, self.find(hash, key));
            }
            for destination in last.2 {
                lists.entry(*destination).or_default().push(index);
            }
        }
        // Each of these is new but for what routes and `*` have brought in before.
        let before = plan.lists.len();
        for (destination, list) in lists {
            plan.add_among(before, destination, Selection::Some(list));
        }
    }
}

/// Selections as they are gathered.
struct Plan<'a> {
    batch: &'a Batch,
    verdicts: &'a Verdicts,
    lists: Vec<(DestinationIndex, Selection)>,
}

impl Plan<'_> {
    fn add(&mut self, destination: DestinationIndex, selection: Selection) {
        self.add_among(self.lists.len(), destination, selection);
    }

    /// As [`Self::add`], where the destination can only be among the first so many.
    fn add_among(&mut self, count: usize, destination: DestinationIndex, selection: Selection) {
        let known = self.lists.iter_mut().take(count);
        let Some((_, held)) = known.into_iter().find(|(d, _)| *d == destination) else {
            self.lists.push((destination, selection));
            return;
        };
        *held = match (std::mem::replace(held, Selection::All), selection) {
            (Selection::Some(mut held), Selection::Some(more)) => {
                held.extend(more);
                held.sort_unstable();
                held.dedup();
                Selection::Some(held)
            }
            _ => Selection::All,
        };
    }

    fn add_where(&mut self, destination: DestinationIndex, wanted: impl Fn(usize) -> bool) {
        let list: Vec<u32> =
            (0u32..).take(self.batch.len()).filter(|i| wanted(*i as usize)).collect();
        if !list.is_empty() {
            self.add(destination, Selection::Some(list));
        }
    }

    fn add_living(&mut self, destination: DestinationIndex) {
        let verdicts = self.verdicts;
        if verdicts.kills_none() {
            self.add(destination, Selection::All);
        } else {
            self.add_where(destination, |index| !verdicts.is_dead(index));
        }
    }

    fn add_kept(&mut self, destination: DestinationIndex) {
        let verdicts = self.verdicts;
        if verdicts.keeps_all() {
            self.add(destination, Selection::All);
        } else {
            self.add_where(destination, |index| verdicts.is_kept(index));
        }
    }

    fn finish(mut self) -> Routed {
        let len = self.batch.len();
        for (_, selection) in &mut self.lists {
            if selection.count(len) == len {
                *selection = Selection::All;
            }
        }
        let living = (0..len).filter(|index| !self.verdicts.is_dead(*index)).count();
        let routed = if self.lists.iter().any(|(_, s)| s.count(len) >= living) {
            living
        } else {
            let mut reached = vec![false; len];
            for (_, selection) in &self.lists {
                selection.iter(len).for_each(|index| reached[index] = true);
            }
            reached.iter().filter(|reached| **reached).count()
        };
        Routed { deliveries: self.lists, routed, unrouted: living - routed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logboom_record::{Head, UnixNanos};

    fn batch(apps: &[&str]) -> Batch {
        let mut batch = Batch::new(Vec::new(), UnixNanos(0));
        for app in apps {
            let span = batch.append(app.as_bytes());
            batch.push(&Head { app: span, app_hash: app_hash(app.as_bytes()), ..Head::default() });
        }
        batch
    }

    fn drains(list: &[(&str, usize)]) -> Vec<(String, usize)> {
        list.iter().map(|(app, to)| ((*app).to_owned(), *to)).collect()
    }

    #[test]
    fn drains_take_their_app_and_a_star_takes_all() {
        let table = Table::new(&drains(&[("a", 0), ("a", 0), ("b", 1), ("*", 2)]), vec![]);
        let mut routed = table.route(&batch(&["a", "b", "c", "a"]), &Verdicts::new(0), &[]);
        routed.deliveries.sort_by_key(|(destination, _)| *destination);
        let expected =
            [(0, Selection::Some(vec![0, 3])), (1, Selection::Some(vec![1])), (2, Selection::All)];
        assert_eq!(routed.deliveries, expected);
        assert_eq!((routed.routed, routed.unrouted), (4, 0));
    }

    #[test]
    fn a_record_that_nobody_wants_is_counted() {
        let table = Table::new(&drains(&[("a", 0)]), vec![]);
        let routed = table.route(&batch(&["x", "a", "y"]), &Verdicts::new(0), &[]);
        assert_eq!((routed.routed, routed.unrouted), (1, 2));
        assert_eq!(routed.deliveries, [(0, Selection::Some(vec![1]))]);
    }

    #[test]
    fn a_destination_named_twice_gets_a_record_once() {
        let table = Table::new(&drains(&[("a", 0)]), vec![0]);
        let routed = table.route(&batch(&["a", "b"]), &Verdicts::new(1), &[0]);
        assert_eq!(routed.deliveries, [(0, Selection::All)]);
    }

    #[test]
    fn apps_that_share_a_prefix_do_not_collide() {
        let apps: Vec<String> = (0..1000).map(|i| format!("app-{i}")).collect();
        let list: Vec<_> = apps.iter().cloned().zip(0..).collect();
        let table = Table::new(&list, vec![]);
        let refs: Vec<&str> = apps.iter().map(String::as_str).collect();
        let routed = table.route(&batch(&refs), &Verdicts::new(0), &[]);
        assert_eq!(routed.deliveries.len(), 1000);
        for (destination, selection) in routed.deliveries {
            assert_eq!(selection, Selection::Some(vec![u32::try_from(destination).unwrap()]));
        }
    }
}
