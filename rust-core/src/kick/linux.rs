//! Kicks on Linux: a signal to one thread, and a timer that signals one thread.
//!
//! Both name the record they are for in the value that a signal can carry, so kicks
//! are told from other signals of the same number, which go to whoever handled them
//! before. System calls are made as such where the C library could allocate or take a
//! lock, since most of this runs in signal handlers.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use super::NotPossible;
use super::registry;

/// Go and others use SIGURG for the same: debuggers pass it on, by default it does
/// nothing, and whoever wants it has to be ready for stray ones anyway.
pub const DEFAULT_SIGNAL: c_int = libc::SIGURG;

/// The signal, 0 for none. Relaxed: set while the interpreter starts.
static SIGNAL: AtomicI32 = AtomicI32::new(DEFAULT_SIGNAL);

/// Who handled the signal before us; null before we do. Published with Release, read
/// by handlers with Acquire.
static EARLIER: AtomicPtr<Earlier> = AtomicPtr::new(ptr::null_mut());

/// All who ever did. A handler may still run while another one is installed, so none is
/// freed; there are only so many.
struct Earlier {
    action: libc::sigaction,
    next: *mut Earlier,
}
static ALL_EARLIER: AtomicPtr<Earlier> = AtomicPtr::new(ptr::null_mut());

/// Asked in a handler: is the thread of this record, which is the running one, blocked,
/// with something to look at?
pub type IsBlocked = unsafe extern "C" fn(record: *const c_void) -> c_int;
static IS_BLOCKED: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Called in a handler: in the running thread, which has this record, something has waited
/// for long. `signal` has raised it, and the user is told; if that is 0, it is raised now.
/// Returns whether that was done; -1 if the thread runs another interpreter.
pub type OnAlarm = unsafe extern "C" fn(record: *const c_void, signal: c_int) -> c_int;
static ON_ALARM: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Which signal to use from now on; 0: none, nobody is woken.
///
/// # Errors
///
/// If there is no such signal, or no handler can be installed for it.
pub fn set_signal(signal: c_int) -> Result<(), NotPossible> {
    if signal != 0 {
        // Also refuses those of the C library, and SIGKILL and SIGSTOP.
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: makes an empty set of it.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: initialised above.
        if unsafe { libc::sigaddset(set.as_mut_ptr(), signal) } != 0
            || matches!(signal, libc::SIGKILL | libc::SIGSTOP)
        {
            return Err(NotPossible);
        }
    }
    SIGNAL.store(signal, Ordering::Relaxed);
    Ok(())
}

/// The signal in use; 0 for none.
pub fn signal() -> c_int {
    SIGNAL.load(Ordering::Relaxed)
}

fn current_action(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: only asks; the room is there.
    let err = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: filled if there was no error.
    (err == 0).then(|| unsafe { action.assume_init() })
}

/// Find or make a place for what handled the signal before.
fn remember(action: libc::sigaction) -> Option<*mut Earlier> {
    let mut known = ALL_EARLIER.load(Ordering::Relaxed);
    while !known.is_null() {
        // SAFETY: made below, and never freed.
        let this = unsafe { &*known };
        if this.action.sa_sigaction == action.sa_sigaction
            && this.action.sa_flags == action.sa_flags
        {
            return Some(known);
        }
        known = this.next;
    }
    let mut room = Vec::new();
    room.try_reserve_exact(1).ok()?;
    room.push(Earlier {
        action,
        next: ALL_EARLIER.load(Ordering::Relaxed),
    });
    let made: *mut Earlier = Vec::leak(room).first_mut()?;
    ALL_EARLIER.store(made, Ordering::Relaxed);
    Some(made)
}

/// Make sure that kicks come to our handler: it may have been replaced. Under the
/// lock.
///
/// # Errors
///
/// If it cannot be installed, or there is no memory.
pub fn install(is_blocked: IsBlocked, on_alarm: OnAlarm) -> Result<(), NotPossible> {
    let signal = signal();
    if signal == 0 {
        return Err(NotPossible);
    }
    let now = current_action(signal).ok_or(NotPossible)?;
    if now.sa_sigaction == handler() && now.sa_flags & libc::SA_RESTART == 0 {
        return Ok(());
    }
    IS_BLOCKED.store(is_blocked as *mut c_void, Ordering::Relaxed);
    ON_ALARM.store(on_alarm as *mut c_void, Ordering::Relaxed);
    if now.sa_sigaction != handler() {
        let earlier = remember(now).ok_or(NotPossible)?;
        // Release: paired with the load in `pass_on`; its action is complete.
        EARLIER.store(earlier, Ordering::Release);
    }
    if put_on_top(signal) {
        Ok(())
    } else {
        Err(NotPossible)
    }
}

/// The address of our handler.
fn handler() -> usize {
    on_signal as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize
}

/// Install our handler. Async-signal-safe. Whether that was possible.
fn put_on_top(signal: c_int) -> bool {
    // SAFETY: all zero is a valid one.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler();
    // Not SA_RESTART: that calls fail is all it is for.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // Nothing else comes in while a timer is set.
    // SAFETY: fills the set it is given.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    // SAFETY: a complete action, whose handler is async-signal-safe.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 }
}

/// Signals that do nothing by default.
const HARMLESS: [c_int; 4] = [libc::SIGURG, libc::SIGCHLD, libc::SIGCONT, libc::SIGWINCH];

/// The interpreter ends: the signal goes to whoever had it before, if it still comes to
/// us; not if the process would die of a kick that is on its way. Under the lock.
pub fn uninstall() {
    let earlier = EARLIER.load(Ordering::Relaxed);
    // SAFETY: null, or made by `remember`, and never freed.
    let action = unsafe { earlier.as_ref() }.map(|earlier| earlier.action.sa_sigaction);
    if action == Some(libc::SIG_DFL) && !HARMLESS.contains(&signal()) {
        return;
    }
    let now = current_action(signal());
    if !earlier.is_null() && now.is_some_and(|now| now.sa_sigaction == handler()) {
        // SAFETY: made by `remember`, and never freed.
        let action = unsafe { &raw const (*earlier).action };
        // SAFETY: what was installed before.
        unsafe { libc::sigaction(signal(), action, ptr::null_mut()) };
    }
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    keeping_errno(|| {
        // SAFETY: the kernel gives a handler with SA_SIGINFO one.
        if !act_on(unsafe { &*info }) {
            pass_on(signal, info, context);
        }
    });
}

/// Do what a kick or an alarm is for. Whether it was one.
fn act_on(info: &libc::siginfo_t) -> bool {
    let named = match info.si_code {
        // SAFETY: signals with these codes carry one.
        libc::SI_TIMER | libc::SI_QUEUE => unsafe { info.si_value() }.sival_ptr.addr(),
        _ => 0,
    };
    if let Some(record) = registry::named(named) {
        record.in_its_thread(|| record.arrived(info.si_code == libc::SI_TIMER, is_blocked));
    } else if let Some(record) = registry::named(named.wrapping_sub(registry::ALARM)) {
        record.in_its_thread(|| {
            rings(record);
            // A kick that came while this was pending was dropped.
            record.arrived(true, is_blocked);
        });
    } else {
        return false;
    }
    registry::count_kick();
    true
}

fn rings(record: &registry::Record) {
    let rings = record.rings();
    if !rings.look && rings.notice.is_none() {
        return;
    }
    // SAFETY: stored by `install`, before the first alarm was set.
    let act: OnAlarm = unsafe { mem::transmute(ON_ALARM.load(Ordering::Relaxed)) };
    let act_on = |signal| {
        // SAFETY: as its type says.
        unsafe { act(ptr::from_ref(record).cast(), signal) }
    };
    if rings.look && act_on(0) < 0 {
        record.was_not_heard(false);
    }
    match rings.notice.map(act_on) {
        Some(-1) => record.was_not_heard(true),
        Some(1) => record.has_noticed(),
        _ => {}
    }
}

fn is_blocked(record: *const c_void) -> bool {
    let ask = IS_BLOCKED.load(Ordering::Relaxed);
    if ask.is_null() {
        return false;
    }
    // SAFETY: stored by `install`, before the first kick was sent.
    let ask: IsBlocked = unsafe { mem::transmute(ask) };
    // SAFETY: as its type says.
    unsafe { ask(record) != 0 }
}

thread_local! {
    /// Not lazily made, nor dropped: a handler may use it.
    static PASSES_ON: Cell<bool> = const { Cell::new(false) };
}

/// Not a kick: it is for whoever handled the signal before us.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Somebody who took the signal from us, and has been put behind us again, may
    // pass it on to us.
    if !PASSES_ON.replace(true) {
        call_earlier(signal, info, context);
        take_back(signal);
        PASSES_ON.set(false);
    }
}

/// faulthandler passes a signal on by putting us in its place, raising the signal once
/// more and putting itself back. All signals are blocked here, so it would come to
/// faulthandler when this handler returns, and so on for ever.
fn take_back(signal: c_int) {
    let ours = current_action(signal).is_some_and(|now| now.sa_sigaction == handler());
    if ours {
        return;
    }
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: makes an empty set of it.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the set is complete, and there is room for the other.
    let taken = unsafe { libc::sigtimedwait(set.as_ptr(), info.as_mut_ptr(), &raw const at_once) };
    if taken == signal {
        // SAFETY: filled, since a signal was taken.
        act_on(unsafe { info.assume_init_ref() });
    }
    put_on_top(signal);
}

fn call_earlier(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Acquire: paired with the store in `install`.
    let earlier = EARLIER.load(Ordering::Acquire);
    if earlier.is_null() {
        return;
    }
    // SAFETY: published, and never freed.
    let action = unsafe { &(*earlier).action };
    match action.sa_sigaction {
        libc::SIG_IGN => {}
        libc::SIG_DFL => {
            if !HARMLESS.contains(&signal) {
                // SAFETY: async-signal-safe.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
                // Comes when this handler returns.
                // SAFETY: as above.
                unsafe { libc::raise(signal) };
            }
        }
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            // SAFETY: what the flags say it is.
            let handler: Handler = unsafe { mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: as above.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// Calls that fail say so in errno, which is somebody else's.
pub fn keeping_errno<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: the address of this thread's.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *errno };
    let result = act();
    // SAFETY: as above.
    unsafe { *errno = saved };
    result
}

/// What `rt_tgsigqueueinfo` takes, as far as it is read.
#[repr(C)]
struct QueuedInfo {
    signo: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    pid: libc::pid_t,
    uid: libc::uid_t,
    value: usize,
    rest: [u64; 12],
}
const _: () = assert!(size_of::<QueuedInfo>() == size_of::<libc::siginfo_t>());

fn this_thread() -> i32 {
    // SAFETY: always succeeds.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as i32
}

fn this_process() -> libc::pid_t {
    // SAFETY: always succeeds.
    unsafe { libc::getpid() }
}

/// Microseconds of the clock of our timers. Async-signal-safe.
pub fn microseconds() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the room is there; this clock exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

const NO_TIMER: i32 = -1;

/// A thread of this process.
#[derive(Debug)]
#[repr(C)]
pub struct Thread {
    id: AtomicI32,
    /// What the kernel calls its timer. Made at the first use, in the thread.
    timer: AtomicI32,
    /// Another one, which rings when something has waited for long.
    alarm: AtomicI32,
    /// The process that has made it: a forked child has none of its parent's timers,
    /// though perhaps one of the same name.
    process: AtomicI32,
}

impl Thread {
    /// None yet.
    pub const fn nobody() -> Self {
        Thread {
            id: AtomicI32::new(0),
            timer: AtomicI32::new(NO_TIMER),
            alarm: AtomicI32::new(NO_TIMER),
            process: AtomicI32::new(0),
        }
    }

    /// From now on, this one is meant, in this process.
    pub fn is(&self, id: i32) {
        self.id.store(id, Ordering::Relaxed);
        self.timer.store(NO_TIMER, Ordering::Relaxed);
        self.alarm.store(NO_TIMER, Ordering::Relaxed);
        self.process.store(this_process(), Ordering::Relaxed);
    }

    /// No thread any more.
    pub fn forget(&self) {
        // Relaxed: see `Handlers`.
        self.id.store(0, Ordering::Relaxed);
        for timer in [&self.timer, &self.alarm] {
            let timer = timer.swap(NO_TIMER, Ordering::Relaxed);
            if timer != NO_TIMER && self.is_of_this_process() {
                // SAFETY: takes a number.
                unsafe { libc::syscall(libc::SYS_timer_delete, timer) };
            }
        }
    }

    /// Whether it is the thread that asks.
    pub fn runs_here(&self) -> bool {
        // Relaxed: see `Handlers`.
        self.id.load(Ordering::Relaxed) == this_thread()
    }

    /// Whether it was this process that has made it.
    pub fn is_of_this_process(&self) -> bool {
        self.process.load(Ordering::Relaxed) == this_process()
    }

    /// Send the signal, with this value.
    pub fn signal(&self, value: usize) {
        let signal = signal();
        let info = QueuedInfo {
            signo: signal,
            errno: 0,
            code: libc::SI_QUEUE,
            padding: 0,
            pid: this_process(),
            // SAFETY: always succeeds.
            uid: unsafe { libc::getuid() },
            value,
            rest: [0; 12],
        };
        // Nothing to do about failure: a thread that has ended needs no kick.
        // SAFETY: reads the info, which has the kernel's layout.
        unsafe {
            libc::syscall(
                libc::SYS_rt_tgsigqueueinfo,
                info.pid,
                self.id.load(Ordering::Relaxed),
                signal,
                &raw const info,
            )
        };
    }

    /// The thread itself: let the signal come after so many microseconds.
    pub fn start_timer(&self, value: usize, microseconds: u32) {
        // Without a timer (RLIMIT_SIGPENDING) a kick that is lost stays lost.
        self.start(&self.timer, value, microseconds.into());
    }

    /// The thread itself: let it not come.
    pub fn stop_timer(&self) {
        Self::stop(&self.timer);
    }

    /// The thread itself: let the alarm ring after so many microseconds. Whether there is
    /// a timer: without one nobody is told, and there is no limit.
    pub fn start_alarm(&self, value: usize, microseconds: u64) -> bool {
        self.start(&self.alarm, value, microseconds)
    }

    /// The thread itself: let it not ring.
    pub fn stop_alarm(&self) {
        Self::stop(&self.alarm);
    }

    fn start(&self, timer: &AtomicI32, value: usize, microseconds: u64) -> bool {
        let timer = self.make(timer, value);
        if let Some(timer) = timer {
            Self::set(timer, microseconds);
        }
        timer.is_some()
    }

    fn stop(timer: &AtomicI32) {
        let timer = timer.load(Ordering::Relaxed);
        if timer != NO_TIMER {
            Self::set(timer, 0);
        }
    }

    fn set(timer: i32, microseconds: u64) {
        let never = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = libc::itimerspec {
            it_interval: never,
            it_value: libc::timespec {
                tv_sec: (microseconds / 1_000_000) as libc::time_t,
                tv_nsec: (microseconds % 1_000_000 * 1_000) as libc::c_long,
            },
        };
        let old: *mut libc::itimerspec = ptr::null_mut();
        // SAFETY: reads the value; the timer is ours.
        unsafe { libc::syscall(libc::SYS_timer_settime, timer, 0, &raw const value, old) };
    }

    fn make(&self, timer: &AtomicI32, value: usize) -> Option<i32> {
        let known = timer.load(Ordering::Relaxed);
        if known != NO_TIMER {
            return Some(known);
        }
        // SAFETY: all zero is a valid one.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_notify_thread_id = self.id.load(Ordering::Relaxed);
        event.sigev_value.sival_ptr = ptr::without_provenance_mut(value);
        let mut made: c_int = NO_TIMER;
        // SAFETY: reads the event, writes the number.
        let err = unsafe {
            libc::syscall(
                libc::SYS_timer_create,
                libc::CLOCK_MONOTONIC,
                &raw const event,
                &raw mut made,
            )
        };
        if err != 0 {
            return None;
        }
        // A handler that came in between may have made one, too.
        let kept = timer.compare_exchange(NO_TIMER, made, Ordering::Relaxed, Ordering::Relaxed);
        if let Err(other) = kept {
            // SAFETY: takes a number.
            unsafe { libc::syscall(libc::SYS_timer_delete, made) };
            return Some(other);
        }
        Some(made)
    }
}
