//! A disk in memory that does everything a real one may do in a bad moment, decided by a seed.
//!
//! It keeps two pictures: what a process sees (the page cache) and what is durable. In between wait
//! the operations that were not synced. When the power is cut, each of them is kept, dropped or,
//! for a write, torn at any byte, on its own and in any order; a write that made a file longer may
//! also leave zeros. A sync that fails forgets the writes it should have carried: they stay
//! visible, but no later sync makes them durable, as on Linux.
//!
//! Faults are armed for the nth operation that changes anything, so that a test can walk through
//! all of them.
//!
//! Deliberately absent: sectors. A write never changes bytes beside it, as the log relies on.

mod dice;
mod state;

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::state::{Change, FileState, NameChange, Outcome, State};
use super::disk::{Disk, DiskFile, DiskLock};

pub use self::dice::Dice;
pub use self::state::Mishap;

/// A folder in memory. Clones share it.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
    process: u64,
}

struct SimulatedLock {
    disk: SimulatedDisk,
    process: u64,
}

impl SimulatedDisk {
    /// An empty folder on a disk whose bad moments follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// Lets `mishap` happen at the operation with this number; the first one has number 0.
    pub fn arm(&self, operation: u64, mishap: Mishap) {
        self.state().armed = Some((operation, mishap));
    }

    /// How many operations have changed anything so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Starts the process anew on the same kernel: what was seen is still seen, synced or not.
    pub fn restart_process(&self) {
        let mut state = self.state();
        state.process += 1;
        state.locked = false;
        state.armed = None;
    }

    /// Cuts the power if it is not off yet, and starts again with what is durable.
    pub fn restart(&self) {
        self.restart_process();
        let mut state = self.state();
        state.is_off = false;
        state.lose_power();
    }

    /// Whether anything works.
    pub fn has_power(&self) -> bool {
        !self.state().is_off
    }

    /// Ends a [`Mishap::Full`].
    pub fn make_room(&self) {
        self.state().is_full = false;
    }

    /// The names in the folder.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// The bytes of a file, if there is one.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.names.get(name)?;
        state.files.get(*file).map(|file| file.seen.clone())
    }

    /// Puts other bytes into a file, durably, behind everybody's back; makes it if need be.
    pub fn tamper(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let number = state.files.len();
        state.files.push(FileState { seen: bytes.clone(), durable: bytes, waiting: Vec::new() });
        state.names.insert(name.to_owned(), number);
        state.durable_names.insert(name.to_owned(), number);
    }

    /// Changes bytes of a file, durably, behind everybody's back; files that are open see it.
    pub fn overwrite(&self, name: &str, position: usize, bytes: &[u8]) {
        let mut state = self.state();
        let Some(number) = state.names.get(name).copied() else { return };
        if let Some(file) = state.files.get_mut(number) {
            let change = Change::Write { position, bytes: bytes.to_vec() };
            change.apply(&mut file.seen);
            change.apply(&mut file.durable);
        }
    }

    /// Removes a file, durably, behind everybody's back.
    pub fn lose(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimulatedDisk {
    fn location(&self) -> String {
        "simulated".to_owned()
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        let mut state = self.state();
        state.check_power()?;
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(SimulatedLock { disk: self.clone(), process: state.process })))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.state().check_power()?;
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        state.check_power()?;
        let file = *state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), file, process: state.process }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let file = state.files.len();
        let exists = state.names.contains_key(name).then_some(ErrorKind::AlreadyExists);
        state.files.push(FileState::default());
        let link = NameChange::Link { name: name.to_owned(), file };
        state.change_name(true, link, exists)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), file, process: state.process }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let file = state.names.get(from).copied();
        let missing = file.is_none().then_some(ErrorKind::NotFound);
        let rename = NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            file: file.unwrap_or_default(),
        };
        state.change_name(false, rename, missing)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let missing = (!state.names.contains_key(name)).then_some(ErrorKind::NotFound);
        state.change_name(false, NameChange::Unlink { name: name.to_owned() }, missing)
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.state();
        let outcome = state.operate(false)?;
        if outcome == Outcome::Done {
            let State { durable_names, waiting_names, .. } = &mut *state;
            for change in waiting_names.drain(..) {
                change.apply(durable_names);
            }
        }
        outcome.into_result()
    }
}

impl SimulatedFile {
    /// The disk, unless this handle belongs to a process that is gone.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        state.check_power()?;
        if state.process == self.process { Ok(state) } else { Err(ErrorKind::NotConnected.into()) }
    }

    fn change(&self, takes_room: bool, change: Change) -> io::Result<()> {
        let mut state = self.state()?;
        let outcome = state.operate(takes_room)?;
        let change = match (outcome, change) {
            (Outcome::Failed(_), Change::Write { position, mut bytes }) => {
                let written = state.dice.up_to(bytes.len());
                bytes.truncate(written);
                Change::Write { position, bytes }
            }
            (_, change) => change,
        };
        let file = state.file(self.file)?;
        change.apply(&mut file.seen);
        file.waiting.push(change);
        outcome.into_result()
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        let file = state.file(self.file)?;
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(file.seen.len());
        let bytes = file.seen.get(start..).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        for (target, byte) in buffer.iter_mut().zip(bytes) {
            *target = *byte;
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let position = usize::try_from(position).map_err(|_| ErrorKind::FileTooLarge)?;
        self.change(true, Change::Write { position, bytes: bytes.to_vec() })
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.state()?.file(self.file)?.seen.len() as u64)
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.change(false, Change::Truncate(usize::try_from(size_bytes).unwrap_or(usize::MAX)))
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync_file(self.file)
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.process == self.process {
            state.locked = false;
        }
    }
}
