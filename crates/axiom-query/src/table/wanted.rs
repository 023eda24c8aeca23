//! What a query's conditions say about the events that it can want at most.

use std::ops::Range;

use axiom_events::Wanted;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::columns::{KIND, OFFSET, SHARD, STREAM, TASK, TENANT, TIER, TIME};
use crate::store::Object;

/// Bounds that hold for every wanted event. Conditions that are not understood bound nothing: they are checked later.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) offsets: Range<u64>,
    pub(super) events: Wanted,
    tiers: Option<Vec<String>>,
    shards: Range<u64>,
}

impl Bounds {
    pub(super) fn of(conditions: &[Expr]) -> Bounds {
        let mut bounds = Bounds {
            offsets: 0..u64::MAX,
            events: Wanted::default(),
            tiers: None,
            shards: 0..u64::MAX,
        };
        for condition in conditions {
            bounds.take(condition);
        }
        bounds
    }

    pub(super) fn has_tier(&self, tier: &str) -> bool {
        self.tiers
            .as_ref()
            .is_none_or(|tiers| tiers.iter().any(|wanted| wanted == tier))
    }

    pub(super) fn has_shard(&self, shard: u16) -> bool {
        self.shards.contains(&u64::from(shard))
    }

    /// Whether a file may hold wanted events.
    pub(super) fn may_have(&self, object: &Object) -> bool {
        let is_time =
            self.events.times.as_ref().is_none_or(|times| {
                times.start() <= object.times.end() && object.times.start() <= times.end()
            });
        is_time && object.offsets.start < self.offsets.end && self.offsets.start < object.offsets.end
    }

    fn take(&mut self, condition: &Expr) {
        if let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) = condition
        {
            self.take(left);
            self.take(right);
            return;
        }
        if let Some((column, names)) = names_of(condition) {
            let list = match column {
                TENANT => &mut self.events.tenants,
                STREAM => &mut self.events.streams,
                TASK => &mut self.events.tasks,
                KIND => &mut self.events.kinds,
                TIER => &mut self.tiers,
                _ => return,
            };
            match list {
                Some(list) => list.retain(|name| names.contains(name)),
                None => *list = Some(names),
            }
        } else if let Some((column, op, value)) = comparison(condition) {
            match (column, value) {
                (OFFSET, ScalarValue::UInt64(Some(value))) => narrow(&mut self.offsets, op, *value),
                (SHARD, ScalarValue::UInt16(Some(value))) => narrow(&mut self.shards, op, u64::from(*value)),
                (TIME, ScalarValue::TimestampNanosecond(Some(value), _)) => self.narrow_times(op, *value),
                _ => {}
            }
        } else if let Expr::Between(between) = condition
            && !between.negated
        {
            for (op, bound) in [(Operator::GtEq, &between.low), (Operator::LtEq, &between.high)] {
                let half = BinaryExpr::new(between.expr.clone(), op, bound.clone());
                self.take(&Expr::BinaryExpr(half));
            }
        }
    }

    fn narrow_times(&mut self, op: Operator, value: i64) {
        let (first, last) = match op {
            Operator::Eq => (value, value),
            Operator::Lt => (i64::MIN, value.saturating_sub(1)),
            Operator::LtEq => (i64::MIN, value),
            Operator::Gt => (value.saturating_add(1), i64::MAX),
            Operator::GtEq => (value, i64::MAX),
            _ => return,
        };
        let times = self.events.times.get_or_insert(i64::MIN..=i64::MAX);
        *times = first.max(*times.start())..=last.min(*times.end());
    }
}

fn narrow(range: &mut Range<u64>, op: Operator, value: u64) {
    let behind = value.saturating_add(1);
    let (start, end) = match op {
        Operator::Eq => (value, behind),
        Operator::Lt => (0, value),
        Operator::LtEq => (0, behind),
        Operator::Gt => (behind, u64::MAX),
        Operator::GtEq => (value, u64::MAX),
        _ => return,
    };
    *range = range.start.max(start)..range.end.min(end);
}

/// `column op literal`, whichever stands first.
fn comparison(condition: &Expr) -> Option<(&str, Operator, &ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => Some((&column.name, *op, value)),
        (Expr::Literal(value, _), Expr::Column(column)) => Some((&column.name, op.swap()?, value)),
        _ => None,
    }
}

/// The names that a column must have one of: `=`, `IN`, and what the optimizer makes of them.
fn names_of(condition: &Expr) -> Option<(&str, Vec<String>)> {
    match condition {
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else {
                return None;
            };
            let names: Option<Vec<String>> = list.list.iter().map(text).collect();
            Some((&column.name, names?))
        }
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Or,
            right,
        }) => {
            let (column, mut names) = names_of(left)?;
            let (other, more) = names_of(right)?;
            names.extend(more);
            (column == other).then_some((column, names))
        }
        _ => {
            let (column, op, value) = comparison(condition)?;
            let name = value.try_as_str()??;
            (op == Operator::Eq).then(|| (column, vec![name.to_owned()]))
        }
    }
}

fn text(literal: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = literal else {
        return None;
    };
    Some(value.try_as_str()??.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn time(nanos: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())))
    }

    #[test]
    fn conditions_that_are_understood_bound_and_others_do_not() {
        let bounds = Bounds::of(&[
            col(OFFSET).gt_eq(lit(10u64)).and(lit(20u64).gt(col(OFFSET))),
            col(TASK).eq(lit("a")).or(col(TASK).eq(lit("b"))),
            col(TASK).in_list(vec![lit("b"), lit("c")], false),
            col(TIME).between(time(5), time(9)),
            col(KIND).not_eq(lit("x")),
            col(KIND).like(lit("g%")),
            col(TIER).eq(lit("hot")),
            col(STREAM).in_list(vec![lit("s")], true),
            col(TASK).eq(lit("a")).or(col(KIND).eq(lit("b"))),
        ]);
        assert_eq!(bounds.offsets, 10..20);
        assert_eq!(bounds.events.tasks, Some(vec!["b".to_owned()]));
        assert_eq!(bounds.events.times, Some(5..=9));
        assert_eq!(bounds.events.kinds, None);
        assert_eq!(bounds.events.streams, None);
        assert!(bounds.has_tier("hot") && !bounds.has_tier("warm"));
        assert!(bounds.has_shard(0));
    }
}
