//! What an explanation says in numbers.

use std::sync::Arc;
use std::time::Duration;

use caed_core::builder::Builder;
use caed_core::explain::{Rule, Value, explain};
use caed_tests::question;
use caed_tests::scenario;

/// D8: how long the token is honoured, the skew included: what has to change is reckoned from it.
#[test]
fn the_lifetime_is_told_with_the_skew() {
    let mut told = 0;
    for (file, scenario) in &scenario::all() {
        let rules = Arc::new(question::rules(scenario));
        let Ok((events, _)) = question::events(scenario, &rules) else { continue };
        let mut builder = Builder::new(Arc::clone(&rules), 7);
        builder.set_countries(question::countries(scenario));
        question::apply(&mut builder, &events);
        if scenario.ready {
            builder.caught_up();
        }
        let (snapshot, profile) = (builder.freeze(), question::profile(scenario));
        let claims = scenario.token.claims();
        let explained = question::with(
            &claims,
            scenario.belief,
            &profile,
            question::seen(scenario),
            |request| explain(&snapshot, request, question::at(scenario)),
        );
        let permitted =
            [profile.long_lifetime, profile.plain_lifetime].map(|time| time + rules.clock_skew);
        for step in explained.steps.iter().filter(|step| step.rule == Rule::D8) {
            for fact in &step.facts {
                if let Value::Length(length) = fact.value {
                    assert!(permitted.contains(&length), "{file}: {}: {length:?}", scenario.story);
                    told += usize::from(rules.clock_skew > Duration::ZERO);
                }
            }
        }
    }
    assert!(told > 100, "{told}");
}
