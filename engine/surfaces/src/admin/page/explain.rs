//! The page that asks why, and answers.
//!
//! It has no script at all, and does not load itself again: nobody loses what they are typing.

use std::time::Duration;

use caed_proto::v1;
use caed_proto::v1::StepOutcome;
use maud::{Markup, html};

use super::super::form::{Fault, Field, Form};
use super::{duration, framed, grouped};
use crate::limits;
use crate::words;

/// What the page may do: look as it does, and send its form here.
pub(in crate::admin) const EXPLAIN_POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What came of a form.
pub(in crate::admin) enum Outcome {
    /// Nothing was asked yet.
    Blank,
    /// Some of its fields are wrong.
    Faulty(Vec<Fault>),
    /// It was not answered.
    Refused(String),
    /// It was.
    Explained(Box<v1::ExplainReply>),
}

/// The whole page.
pub(in crate::admin) fn explain(form: &Form, profiles: &[&str], outcome: &Outcome) -> Markup {
    let faults = match outcome {
        Outcome::Faulty(faults) => faults.as_slice(),
        _ => &[],
    };
    let way = html! { a href="." { "Status" } };
    framed(
        "caed: explain an answer",
        &html! {},
        &way,
        &html! {
            main.asking {
                (Typed { form, faults }.ask(profiles))
                section #answer.before[matches!(outcome, Outcome::Blank)] aria-label="Answer" { (answer(outcome)) }
            }
        },
    )
}

/// A form with what is wrong with it.
struct Typed<'t> {
    form: &'t Form,
    faults: &'t [Fault],
}

impl Typed<'_> {
    fn ask(&self, profiles: &[&str]) -> Markup {
        use Field::{
            Address, Capable, Claims, Client, Device, Expires, Issued, Issuer, Profile, Route,
            Session, Tenant, User,
        };
        html! {
            form method="post" action="explain#answer" autocomplete="off" {
                (self.line(Tenant, "tid", ""))
                (self.line(User, "oid, or sub", ""))
                (self.line(Issued, "iat", "In UTC, such as 2026-01-15T12:00:00Z, or in seconds."))
                (self.line(Address, "", "Where the request comes from. Empty: not known."))
                (self.tick(Route))
                (self.choice(Profile, &{
                    let mut all = vec![("", "the configured one")];
                    all.extend(profiles.iter().map(|name| (*name, *name)));
                    all
                }))
                (self.fold("More of the token", &[Issuer, Expires, Session, Client, Device, Capable], &html! {
                    (self.line(Issuer, "iss", "Empty: the one that is configured for the tenant."))
                    (self.line(Expires, "exp", "Empty: never."))
                    (self.line(Session, "sid", ""))
                    (self.line(Client, "azp, or appid", ""))
                    (self.line(Device, "deviceid", ""))
                    (self.choice(Capable, &[
                        ("", "as the pasted claims say; without them, yes"),
                        ("yes", "yes"),
                        ("no", "no"),
                    ]))
                }))
                (self.fold("Paste its claims instead", &[Claims], &html! {
                    (self.text(Claims,
                        "The decoded middle part of the token. The token itself need not and should not be \
                         pasted: whoever holds it can use it. What a field above says counts instead."))
                }))
                button type="submit" { "Explain" }
            }
        }
    }

    fn faults(&self, field: Field) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| fault.field == field)
    }

    fn is_faulty(&self, field: Field) -> bool {
        self.faults(field).next().is_some()
    }

    /// A field with its label above it, and below it what helps.
    fn field(&self, field: Field, claim: &str, hint: &str, input: &Markup) -> Markup {
        let name = field.name();
        html! {
            div.field.faulty[self.is_faulty(field)] {
                label for=(name) {
                    (field.label())
                    @if !claim.is_empty() { " " code { (claim) } }
                }
                (input)
                div id={ (name) "-hint" } {
                    @for fault in self.faults(field) { p.fault { (fault.text) "." } }
                    @if !hint.is_empty() { p { (hint) } }
                }
            }
        }
    }

    fn line(&self, field: Field, claim: &str, hint: &str) -> Markup {
        let name = field.name();
        self.field(
            field,
            claim,
            hint,
            &html! {
                input type="text" id=(name) name=(name) value=(self.form.value(field))
                    spellcheck="false" autocapitalize="off" autocorrect="off"
                    aria-invalid=[self.is_faulty(field).then_some("true")]
                    aria-describedby={ (name) "-hint" };
            },
        )
    }

    fn text(&self, field: Field, hint: &str) -> Markup {
        let name = field.name();
        self.field(
            field,
            "",
            hint,
            &html! {
                textarea id=(name) name=(name) rows="9" maxlength=(limits::FORM_CLAIMS_MAX)
                    placeholder="{ \"iss\": \"…\", \"tid\": \"…\", \"oid\": \"…\", \"iat\": … }"
                    spellcheck="false" autocapitalize="off" autocorrect="off"
                    aria-invalid=[self.is_faulty(field).then_some("true")]
                    aria-describedby={ (name) "-hint" } {
                    // A browser takes away the first line break.
                    "\n" (self.form.value(field))
                }
            },
        )
    }

    fn choice(&self, field: Field, choices: &[(&str, &str)]) -> Markup {
        let name = field.name();
        let chosen = self.form.value(field);
        self.field(
            field,
            "",
            "",
            &html! {
                select id=(name) name=(name) aria-describedby={ (name) "-hint" } {
                    @for (value, text) in choices {
                        option value=(value) selected[*value == chosen] { (text) }
                    }
                }
            },
        )
    }

    fn tick(&self, field: Field) -> Markup {
        let name = field.name();
        html! {
            div.field.tick {
                input type="checkbox" id=(name) name=(name) value="none"
                    checked[!self.form.value(field).is_empty()]
                    aria-describedby={ (name) "-hint" };
                label for=(name) { (field.label()) }
                div id={ (name) "-hint" } {
                    @for fault in self.faults(field) { p.fault { (fault.text) "." } }
                }
            }
        }
    }

    /// Fields that are shown when somebody asks for them, used them, or has to mend them.
    fn fold(&self, title: &str, fields: &[Field], inner: &Markup) -> Markup {
        let is_used = |field: &Field| !self.form.value(*field).is_empty() || self.is_faulty(*field);
        html! {
            details open[fields.iter().any(is_used)] {
                summary { (title) }
                (inner)
            }
        }
    }
}

fn answer(outcome: &Outcome) -> Markup {
    match outcome {
        Outcome::Blank => html! {
            h2.question { "Why is a token answered as it is?" }
            p.none {
                "Every rule tells what it looked at and what it found, and what would change the answer. \
                 Asking lets nobody in, changes nothing, and is written nowhere."
            }
        },
        Outcome::Faulty(faults) => html! {
            p.state.bad role="alert" {
                @match faults.len() { 1 => "One field needs another look", _ => "Some fields need another look" }
            }
            ul {
                @for Fault { field, text } in faults {
                    li { a href={ "#" (field.name()) } { (field.label()) } " " (text) "." }
                }
            }
        },
        Outcome::Refused(why) => html! {
            p.state.bad role="alert" { "This was not answered" }
            p { (why) }
        },
        Outcome::Explained(reply) => explained(reply),
    }
}

fn explained(reply: &v1::ExplainReply) -> Markup {
    let v1::ExplainReply { decision, address: _, steps: _, remedies, belief: _ } = reply;
    html! {
        @if let Some(decision) = decision { (decided(decision)) }
        @if !remedies.is_empty() {
            h2 { (words::REMEDIES) }
            ul.remedies { @for remedy in remedies { li { (remedy.text) } } }
        }
        h2 { "Rule by rule" }
        ol.rules { @for rule in words::rules(reply) { (step(&rule)) } }
    }
}

fn decided(reply: &v1::EvaluateReply) -> Markup {
    let is_allowed = reply.verdict() == v1::Verdict::Allow;
    html! {
        p.state.good[is_allowed].bad[!is_allowed] {
            (words::verdict(reply)) " " small { "HTTP " (reply.http_status) }
        }
        @if let Some(knowledge) = &reply.knowledge { (known(knowledge)) }
        div.parts { (told(words::answer(reply).iter().map(|(label, text)| (*label, text.as_str())))) }
    }
}

fn known(knowledge: &v1::Knowledge) -> Markup {
    let generation = grouped(knowledge.generation);
    html! {
        p.none {
            "By snapshot " (generation) ", "
            @match knowledge.age_ms {
                Some(age) => { "as of " (duration(Duration::from_millis(age))) " ago." }
                None => "of unknown age.",
            }
        }
    }
}

fn step(rule: &words::Rule<'_>) -> Markup {
    let spoke = rule.outcome == StepOutcome::Spoke;
    html! {
        li.spoke[spoke].silent[rule.silence().is_some()] {
            h3 {
                span.mark { (rule.mark()) }
                code { (rule.id) }
                span {
                    (rule.title)
                    @if let Some(silence) = rule.silence() { " " small { "(" (silence) ")" } }
                }
            }
            @if !rule.facts.is_empty() {
                (told(rule.facts.iter().map(|(name, found)| (name.as_str(), found.as_str()))))
            }
        }
    }
}

/// What was found, beside what was looked at.
fn told<'t>(all: impl Iterator<Item = (&'t str, &'t str)>) -> Markup {
    html! {
        dl.told { @for (name, found) in all { div { dt { (name) } dd { (found) } } } }
    }
}
