//! What an import understood, object by object, as text for people.

use std::fmt;

use caed_proto::v1;
use caed_proto::v1::event::Fact;

use super::text::{count, shown};
use super::{Import, Kind, Object, Obstacle};

impl fmt::Display for Import {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for object in &self.objects {
            writeln!(to, "{object}")?;
        }
        for remark in &self.remarks {
            writeln!(to, "note: {remark}\n")?;
        }
        let of = |kind| self.objects.iter().filter(move |object| object.kind == kind);
        let hindered = |object: &&Object| !object.is_disabled() && !object.obstacles.is_empty();
        let (never, not_now): (Vec<_>, Vec<_>) =
            of(Kind::Policy).filter(hindered).partition(|object| object.is_never_enforceable());
        let (never, not_now) = (never.len(), not_now.len());
        let policies = count(of(Kind::Policy).count(), "policy", "policies");
        let locations = count(of(Kind::Location).count(), "location", "locations");
        let settings = count(of(Kind::Settings).count(), "CAE policy", "CAE policies");
        write!(to, "{policies}")?;
        if never > 0 {
            write!(to, ", {never} of them not enforceable")?;
        }
        if not_now > 0 {
            write!(to, ", {not_now} of them not enforceable while something is missing")?;
        }
        write!(to, "; {locations}; {settings}")
    }
}

impl Object {
    fn is_never_enforceable(&self) -> bool {
        self.obstacles.iter().any(|obstacle| matches!(obstacle, Obstacle::Always(_)))
    }

    fn is_disabled(&self) -> bool {
        let disabled = v1::PolicyState::Disabled;
        matches!(&self.fact, Fact::PolicyChanged(policy) if policy.state() == disabled)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.kind.as_str();
        writeln!(to, "{word} {} \"{}\"", shown(&self.id), shown(&self.name))?;
        for (label, text) in &self.understood {
            writeln!(to, "  {label:<10} {text}")?;
        }
        for obstacle in &self.obstacles {
            match obstacle {
                Obstacle::Always(why) => writeln!(to, "  not enforceable: {why}")?,
                Obstacle::While(why) => writeln!(to, "  not enforceable while {why}")?,
            }
        }
        if self.kind == Kind::Policy && self.obstacles.is_empty() && !self.is_disabled() {
            writeln!(to, "  enforceable")?;
        }
        for remark in &self.remarks {
            writeln!(to, "  note: {remark}")?;
        }
        if self.at.is_none() {
            writeln!(to, "  note: it has no time of its own and counts from its receipt")?;
        }
        Ok(())
    }
}
