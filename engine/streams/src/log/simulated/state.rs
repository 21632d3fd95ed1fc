//! What the simulated disk knows, and what it does to it in a bad moment.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use super::dice::Dice;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The power goes: from this operation on nothing works until [`SimulatedDisk::restart`](super::SimulatedDisk::restart).
    PowerCut,
    /// This operation fails; a write may be done in part.
    Failure,
    /// The disk is full from this operation on, until [`SimulatedDisk::make_room`](super::SimulatedDisk::make_room).
    Full,
}

/// Both pictures of the folder, and what waits between them.
pub(super) struct State {
    pub(super) dice: Dice,
    /// Files by number; names come and go.
    pub(super) files: Vec<FileState>,
    /// The names that a process sees.
    pub(super) names: BTreeMap<String, usize>,
    /// The names that would survive.
    pub(super) durable_names: BTreeMap<String, usize>,
    pub(super) waiting_names: Vec<NameChange>,
    pub(super) operations: u64,
    pub(super) armed: Option<(u64, Mishap)>,
    pub(super) is_off: bool,
    pub(super) is_full: bool,
    /// Whether somebody holds the folder.
    pub(super) locked: bool,
    /// How often the disk was restarted; handles of earlier processes are dead.
    pub(super) process: u64,
}

/// Both pictures of a file.
#[derive(Default)]
pub(super) struct FileState {
    pub(super) seen: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) waiting: Vec<Change>,
}

/// A change of a file.
pub(super) enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// A change of the folder.
pub(super) enum NameChange {
    Link { name: String, file: usize },
    Unlink { name: String },
    Rename { from: String, to: String, file: usize },
}

/// How an operation goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed(ErrorKind),
}

impl State {
    /// An empty folder.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            waiting_names: Vec::new(),
            operations: 0,
            armed: None,
            is_off: false,
            is_full: false,
            locked: false,
            process: 0,
        }
    }

    /// Counts an operation and says how it goes.
    pub(super) fn operate(&mut self, takes_room: bool) -> io::Result<Outcome> {
        self.check_power()?;
        let number = self.operations;
        self.operations += 1;
        let mishap = self.armed.filter(|(at, _)| *at == number).map(|(_, mishap)| mishap);
        match mishap {
            Some(Mishap::PowerCut) => self.is_off = true,
            Some(Mishap::Full) => self.is_full = true,
            Some(Mishap::Failure) => return Ok(Outcome::Failed(ErrorKind::Other)),
            None => {}
        }
        if self.is_off {
            return Ok(Outcome::Failed(ErrorKind::BrokenPipe));
        }
        if self.is_full && takes_room {
            return Ok(Outcome::Failed(ErrorKind::StorageFull));
        }
        Ok(Outcome::Done)
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// A change of names: done, or failed with or without effect.
    pub(super) fn change_name(
        &mut self,
        takes_room: bool,
        change: NameChange,
        missing: Option<ErrorKind>,
    ) -> io::Result<()> {
        let outcome = self.operate(takes_room)?;
        if let Some(kind) = missing {
            return Err(kind.into());
        }
        if outcome == Outcome::Done || (!takes_room && self.dice.one_in(2)) {
            change.apply(&mut self.names);
            self.waiting_names.push(change);
        }
        outcome.into_result()
    }

    pub(super) fn file(&mut self, number: usize) -> io::Result<&mut FileState> {
        self.files.get_mut(number).ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn sync_file(&mut self, number: usize) -> io::Result<()> {
        let outcome = self.operate(false)?;
        let is_off = self.is_off;
        let mut dice = self.dice.clone();
        let file = self.file(number)?;
        if outcome == Outcome::Done {
            for change in file.waiting.drain(..) {
                change.apply(&mut file.durable);
            }
        } else if !is_off {
            // The kernel forgets that these pages are dirty; some may have been written.
            let waiting = std::mem::take(&mut file.waiting);
            for change in waiting {
                match change {
                    Change::Truncate(_) => file.waiting.push(change),
                    Change::Write { .. } => change.survive(&mut dice, &mut file.durable),
                }
            }
        }
        self.dice = dice;
        outcome.into_result()
    }

    /// Leaves of everything that waits what the dice say.
    pub(super) fn lose_power(&mut self) {
        let Self { dice, files, names, durable_names, waiting_names, .. } = self;
        for file in files.iter_mut() {
            dice.shuffle(&mut file.waiting);
            for change in file.waiting.drain(..) {
                change.survive(dice, &mut file.durable);
            }
            file.seen.clone_from(&file.durable);
        }
        for change in waiting_names.drain(..) {
            if dice.one_in(2) {
                change.apply(durable_names);
            }
        }
        names.clone_from(durable_names);
    }
}

impl Outcome {
    pub(super) fn into_result(self) -> io::Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Failed(kind) => Err(kind.into()),
        }
    }
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Truncate(size) => bytes.truncate(*size),
            Self::Write { position, bytes: written } => {
                let end = position + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(target) = bytes.get_mut(*position..end) {
                    target.copy_from_slice(written);
                }
            }
        }
    }

    /// Kept, dropped or torn.
    pub(super) fn survive(self, dice: &mut Dice, durable: &mut Vec<u8>) {
        let Self::Write { position, bytes } = self else {
            if dice.one_in(2) {
                self.apply(durable);
            }
            return;
        };
        let length = bytes.len();
        let (from, to) = match dice.below(6) {
            0 => return,
            1 => (0, length),
            2 => (0, dice.up_to(length)),
            3 => (dice.up_to(length), length),
            4 => {
                // The length was made durable, the bytes were not.
                let size = durable.len().max(position + length);
                durable.resize(size, 0);
                return;
            }
            _ => {
                let to = dice.up_to(length);
                (dice.up_to(to), to)
            }
        };
        let kept = bytes.get(from..to).unwrap_or_default().to_vec();
        Self::Write { position: position + from, bytes: kept }.apply(durable);
    }
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}
