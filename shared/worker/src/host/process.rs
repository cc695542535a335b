//! A child process that runs tasks: how it is started, spoken to, stopped in its tracks, and killed.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping, FdMappingCollision};
use oncekey_core::RunId;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc};

use crate::host::protocol::{FromChild, ToChild};
use crate::invocation::lock;

/// The longest line that a child may say, in bytes: an output of 3 MB, however it is escaped.
const MAX_LINE_BYTES: usize = 20 * 1024 * 1024;
/// The longest line of a task's console that is shown whole, in bytes.
const MAX_CONSOLE_BYTES: usize = 64 * 1024;
/// How long the beginning of a line is waited with for its end.
const UNTIL_SHOWN: Duration = Duration::from_secs(1);
/// How often a child that was told to stop is asked whether it has.
const UNTIL_STOPPED: Duration = Duration::from_millis(1);

/// Which of a task's streams a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Takes a line that a task wrote, with the run that the process carries out, or did last.
pub type Console = Arc<dyn Fn(Option<&RunId>, Stream, &str) + Send + Sync>;

/// How a child is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub folder: PathBuf,
    pub environment: HashMap<String, String>,
}

/// A child process.
pub(crate) struct Process {
    pid: Pid,
    child: Mutex<Child>,
    to: mpsc::UnboundedSender<String>,
    inbox: Inbox,
    run: Arc<Mutex<Option<RunId>>>,
}

/// What a child has said and nobody has heard yet.
struct Inbox {
    pipe: pipe::Receiver,
    backlog: Mutex<Backlog>,
    more: Notify,
}

#[derive(Default)]
struct Backlog {
    messages: VecDeque<FromChild>,
    /// The beginning of a line.
    part: Vec<u8>,
    ended: bool,
}

impl Process {
    /// Starts a child. To be called on a thread that lives as long as the host: where it can be had, the child is killed when
    /// the thread that started it ends.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start(program: &Program, console: &Console) -> io::Result<Self> {
        let (to_child, from_host) = (io::pipe()?, io::pipe()?);
        let (child_reads, host_writes) = to_child;
        let (host_reads, child_writes) = from_host;
        let mut command = with_parent(program);
        command.current_dir(&program.folder).env_remove("TRIGGER_VERSION").envs(&program.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: a Ctrl-C is the host's to answer, and what is stopped when the host dies is ended by the kernel.
        command.process_group(0).kill_on_drop(true);
        let fds = vec![
            FdMapping { parent_fd: OwnedFd::from(child_reads), child_fd: 3 },
            FdMapping { parent_fd: OwnedFd::from(child_writes), child_fd: 4 },
        ];
        command.fd_mappings(fds).map_err(|FdMappingCollision| io::Error::other("two files under one number"))?;
        let mut child = command.spawn()?;
        drop(command);
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| io::Error::other("the process has ended already"))?;
        let run = Arc::new(Mutex::new(None));
        if let Some(out) = child.stdout.take() {
            tokio::spawn(relay(out, Stream::Out, Arc::clone(&run), Arc::clone(console)));
        }
        if let Some(err) = child.stderr.take() {
            tokio::spawn(relay(err, Stream::Err, Arc::clone(&run), Arc::clone(console)));
        }
        let (to, lines) = mpsc::unbounded_channel();
        tokio::spawn(write(pipe::Sender::from_owned_fd(host_writes.into())?, lines));
        let pipe = pipe::Receiver::from_owned_fd(host_reads.into())?;
        let inbox = Inbox { pipe, backlog: Mutex::default(), more: Notify::new() };
        Ok(Self { pid, child: Mutex::new(child), to, inbox, run })
    }

    /// Its number.
    #[cfg(test)]
    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Tells the child; one that has ended hears nothing.
    pub(crate) fn tell(&self, message: &ToChild<'_>) {
        if let Ok(line) = serde_json::to_string(message) {
            let _ = self.to.send(line + "\n");
        }
    }

    /// Says whose lines the console shows from here on.
    pub(crate) fn carries(&self, run: &RunId) {
        *lock(&self.run) = Some(run.clone());
    }

    /// What the child says next. `None` when it can say no more: it has ended, or is about to.
    ///
    /// # Errors
    /// In words, when what it said is not a message.
    pub(crate) async fn hear(&self) -> Result<Option<FromChild>, String> {
        loop {
            let more = self.inbox.more.notified();
            {
                let mut backlog = lock(&self.inbox.backlog);
                if let Some(message) = backlog.messages.pop_front() {
                    return Ok(Some(message));
                }
                if backlog.ended {
                    return Ok(None);
                }
            }
            tokio::select! {
                readable = self.inbox.pipe.readable() => {
                    if readable.is_err() {
                        return Ok(None);
                    }
                    self.inbox.read()?;
                }
                () = more => {}
            }
        }
    }

    /// Stops the child where it stands, and returns when it does; or when it has ended.
    pub(crate) async fn stop(&self) {
        let _ = kill_process(self.pid, Signal::STOP);
        let seen = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while matches!(waitid(WaitId::Pid(self.pid), seen), Ok(None)) {
            tokio::time::sleep(UNTIL_STOPPED).await;
        }
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        let _ = kill_process(self.pid, Signal::CONT);
    }

    /// Whether the child, which stands still, has said anything that nobody has heard.
    pub(crate) fn has_said_more(&self) -> bool {
        let unreadable = self.inbox.read().is_err();
        let backlog = lock(&self.inbox.backlog);
        let more = unreadable || backlog.ended || !backlog.messages.is_empty() || !backlog.part.is_empty();
        drop(backlog);
        if more {
            self.inbox.more.notify_waiters();
        }
        more
    }

    /// Whether it is there still.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        // Never by number: it may be another's by now.
        let _ = lock(&self.child).start_kill();
    }

    /// How a child ended that says no more.
    pub(crate) async fn end(&self) -> Option<ExitStatus> {
        for _ in 0..100 {
            match lock(&self.child).try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => {}
                Err(_) => return None,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        None
    }
}

impl Inbox {
    /// Reads what is there.
    fn read(&self) -> Result<(), String> {
        let mut backlog = lock(&self.backlog);
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.pipe.try_read(&mut buffer) {
                Ok(0) => backlog.ended = true,
                Ok(size) => {
                    let bytes = buffer.get(..size).unwrap_or_default();
                    backlog.take(bytes)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => backlog.ended = true,
            }
            return Ok(());
        }
    }
}

impl Backlog {
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.part.extend_from_slice(piece);
            if self.part.len() > MAX_LINE_BYTES {
                return Err(format!("it said more than {MAX_LINE_BYTES} bytes at once on file descriptor 4"));
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.part);
                let message = serde_json::from_slice(&line).map_err(|error| {
                    let shown: String = String::from_utf8_lossy(&line).chars().take(80).collect();
                    format!("it wrote {shown:?} to file descriptor 4, which is the host's ({error})")
                })?;
                self.messages.push_back(message);
            }
        }
        Ok(())
    }
}

/// The command, so that the child dies with the host where the system can see to that. A child also ends when it reads the end
/// of file descriptor 3; this is for one that does not read.
fn with_parent(program: &Program) -> Command {
    const SETPRIV: &str = "/usr/bin/setpriv";
    let mut command = if cfg!(target_os = "linux") && std::path::Path::new(SETPRIV).exists() {
        let mut command = Command::new(SETPRIV);
        command.args(["--pdeathsig", "KILL", "--"]).arg(&program.program);
        command
    } else {
        Command::new(&program.program)
    };
    command.args(&program.arguments);
    command
}

async fn write(mut pipe: pipe::Sender, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if pipe.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Hands on what a task writes, line by line, as its run's that was carried out when the line began. One that does not end its
/// line is cut, so that it needs no memory, and so that nothing of it stands in the next run's line.
async fn relay(mut from: impl AsyncRead + Unpin, stream: Stream, run: Arc<Mutex<Option<RunId>>>, console: Console) {
    let mut part = Part { line: Vec::new(), whose: None };
    let show = |part: &mut Part| {
        let line = String::from_utf8_lossy(&part.line);
        console(part.whose.as_ref(), stream, line.trim_end_matches(['\n', '\r']));
        part.line.clear();
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer);
        let read = match part.line.is_empty() {
            true => read.await,
            false => match tokio::time::timeout(UNTIL_SHOWN, read).await {
                Ok(read) => read,
                Err(_) => {
                    show(&mut part);
                    continue;
                }
            },
        };
        let size = read.unwrap_or(0);
        let now = lock(&run).clone();
        if !part.line.is_empty() && (size == 0 || now != part.whose) {
            show(&mut part);
        }
        if size == 0 {
            return;
        }
        part.whose = now;
        for piece in buffer.get(..size).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            part.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || part.line.len() >= MAX_CONSOLE_BYTES {
                show(&mut part);
            }
        }
    }
}

/// The beginning of a line.
struct Part {
    line: Vec<u8>,
    whose: Option<RunId>,
}
