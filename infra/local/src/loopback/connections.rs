//! How many connections may be open, in all endpoints of a stack together. When there are as many, the one that has been
//! without a whole request for longest gives way to the next, once it had its chance to send one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The most that are open at a time, however many files a process may have open.
const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may be without a whole request before it has to give way.
const CHANCE: Duration = Duration::from_millis(500);

/// The connections of a stack.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    chance: Duration,
    open: Mutex<Open>,
    /// One has gone, or is at work no more.
    eased: Notify,
}

#[derive(Debug, Default)]
struct Open {
    /// The next one's name.
    next: u64,
    connections: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    state: State,
    /// Its place is needed for another.
    needed: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Without a whole request since then.
    Idle { since: Instant },
    /// A request is carried out.
    Busy,
    /// Told to give way.
    Leaving,
}

impl Connections {
    /// As many as leave half of the files that this process may have open for everything else.
    pub(crate) fn new() -> Arc<Self> {
        Self::up_to(files().map_or(MAX_CONNECTIONS, |files| (files / 2).clamp(1, MAX_CONNECTIONS)), CHANCE)
    }

    pub(super) fn up_to(most: usize, chance: Duration) -> Arc<Self> {
        Arc::new(Self { most, chance, open: Mutex::default(), eased: Notify::new() })
    }

    /// Takes a place for a connection, as soon as there is one.
    pub(super) async fn admit(self: &Arc<Self>) -> Place {
        loop {
            // Registered before looking, so that nobody goes unseen in between.
            let mut eased = std::pin::pin!(self.eased.notified());
            eased.as_mut().enable();
            if let Some(place) = self.place() {
                return place;
            }
            let none_yet = self.close_one();
            tokio::select! {
                () = eased => {}
                () = tokio::time::sleep_until(none_yet.unwrap_or_else(Instant::now)), if none_yet.is_some() => {}
            }
        }
    }

    fn place(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.lock();
        if open.connections.len() >= self.most {
            return None;
        }
        open.next += 1;
        let (id, needed, since) = (open.next, Arc::new(Notify::new()), Instant::now());
        open.connections.insert(id, Connection { state: State::Idle { since }, needed: Arc::clone(&needed) });
        Some(Place { id, needed, connections: Arc::clone(self) })
    }

    /// Tells the connection that has been idle for longest to give way. If that still has its chance: until when.
    pub(super) fn close_one(&self) -> Option<Instant> {
        let mut open = self.lock();
        let idle = open.connections.iter_mut().filter_map(|(id, connection)| match connection.state {
            State::Idle { since } => Some((since, *id, connection)),
            State::Busy | State::Leaving => None,
        });
        let (since, _, connection) = idle.min_by_key(|(since, id, _)| (*since, *id))?;
        let until = since + self.chance;
        if until > Instant::now() {
            return Some(until);
        }
        connection.state = State::Leaving;
        connection.needed.notify_one();
        None
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one open connection, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    needed: Arc<Notify>,
    connections: Arc<Connections>,
}

impl Place {
    /// Ends when the connection has to give way.
    pub(super) async fn needed(&self) {
        self.needed.notified().await;
    }

    /// A request has come whole: until what this gives is dropped, the connection does not give way. Never ends for one
    /// that was told to already.
    pub(super) async fn busy(&self) -> Busy<'_> {
        let stays = self.change(|state| if state == State::Leaving { state } else { State::Busy });
        if stays != Some(State::Busy) {
            std::future::pending::<()>().await;
        }
        Busy(self)
    }

    /// Its new state, by its present one.
    fn change(&self, to: impl FnOnce(State) -> State) -> Option<State> {
        let mut open = self.connections.lock();
        let connection = open.connections.get_mut(&self.id)?;
        connection.state = to(connection.state);
        Some(connection.state)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().connections.remove(&self.id);
        self.connections.eased.notify_waiters();
    }
}

/// A request is carried out.
pub(super) struct Busy<'a>(&'a Place);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.change(|_| State::Idle { since: Instant::now() });
        self.0.connections.eased.notify_waiters();
    }
}

/// How many files this process may have open, if there is a limit.
#[cfg(unix)]
fn files() -> Option<usize> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.and_then(|files| files.try_into().ok())
}

#[cfg(not(unix))]
fn files() -> Option<usize> {
    None
}
