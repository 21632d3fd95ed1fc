//! What a list of Graph holds, in words.

use super::super::text::count;
use super::NONE;

/// What a list holds, in words.
#[derive(Default)]
pub(super) struct Listing(Vec<String>);

impl Listing {
    pub(super) fn words(
        mut self,
        names: &[String],
        words: &[(&str, &str)],
        one: &str,
        many: &str,
    ) -> Self {
        let holds = |word: &str| names.iter().any(|name| name == word);
        self.0.extend(
            words.iter().filter(|(word, _)| holds(word)).map(|(_, text)| (*text).to_owned()),
        );
        let is_word = |name: &String| name == NONE || words.iter().any(|(word, _)| name == word);
        self.number(names.iter().filter(|name| !is_word(name)).count(), one, many)
    }

    pub(super) fn word(mut self, text: &str) -> Self {
        self.0.push(text.to_owned());
        self
    }

    pub(super) fn ids(self, ids: &[String], one: &str, many: &str) -> Self {
        self.number(ids.len(), one, many)
    }

    pub(super) fn number(mut self, number: usize, one: &str, many: &str) -> Self {
        if number > 0 {
            self.0.push(count(number, one, many));
        }
        self
    }

    pub(super) fn text(&self, empty: &str) -> String {
        if self.0.is_empty() { empty.to_owned() } else { self.0.join(", ") }
    }

    pub(super) fn but_not(&self, excluded: &Self, empty: &str) -> String {
        let included = self.text(empty);
        if excluded.0.is_empty() {
            included
        } else {
            format!("{included}, except {}", excluded.text(""))
        }
    }
}
