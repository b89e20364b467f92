//! The module's functions.

use std::ffi::{CStr, c_int};
use std::ptr;

use pyo3_ffi::*;

use crate::Static;
use crate::interpreter::{self, none, type_error, type_name, value_error};

fn boolean(value: bool) -> *mut PyObject {
    // SAFETY: the interpreter's own objects.
    unsafe { interpreter::PyBool_FromLong(value.into()) }
}

/// Set an exception of this type, with a message that needs no arguments.
fn fail(exception: *mut PyObject, message: &CStr) -> *mut PyObject {
    // SAFETY: only called by functions below, in an attached thread.
    unsafe { PyErr_SetString(exception, message.as_ptr()) };
    ptr::null_mut()
}

unsafe extern "C" fn interrupts_masked(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: the thread is attached.
    boolean(unsafe { interpreter::_PyInterrupts_Masked() } != 0)
}

unsafe extern "C" fn interrupts_pending(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: the thread is attached.
    boolean(unsafe { interpreter::_PyInterrupts_Pending() } != 0)
}

unsafe extern "C" fn next_for_caller(_: *mut PyObject, generator: *mut PyObject) -> *mut PyObject {
    // SAFETY: the thread is attached, the object is alive.
    unsafe { interpreter::_PyInterrupts_NextForCaller(generator) }
}

unsafe extern "C" fn hand_over(
    _: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    let generator = match count {
        0 => ptr::null_mut(),
        // SAFETY: there is one.
        1 => match unsafe { *args } {
            // SAFETY: the interpreter's own object.
            generator if generator == unsafe { Py_None() } => ptr::null_mut(),
            generator => generator,
        },
        _ => {
            return fail(type_error(), c"hand_over() takes a generator, or nothing");
        }
    };
    // SAFETY: the thread is attached, the object is alive.
    if unsafe { interpreter::_PyInterrupts_HandOver(generator) } < 0 {
        return ptr::null_mut();
    }
    none()
}

unsafe extern "C" fn enter_and_register(
    _: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    if count != 4 {
        return fail(
            type_error(),
            c"enter_and_register() takes __enter__, a context manager, a function that \
              registers, and __exit__",
        );
    }
    // SAFETY: there are four.
    let arguments = unsafe { std::slice::from_raw_parts(args, 4) };
    let &[enter, manager, add_exit, exit] = arguments else {
        return ptr::null_mut();
    };
    // SAFETY: the thread is attached, the objects are alive.
    unsafe { interpreter::_PyInterrupts_EnterAndRegister(enter, manager, add_exit, exit) }
}

unsafe fn call_in_region(
    region: c_int,
    usage: &CStr,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    if count < 1 {
        return fail(type_error(), usage);
    }
    // SAFETY: there is at least one.
    let arguments = unsafe { args.add(1) };
    // SAFETY: as above.
    let function = unsafe { *args };
    // SAFETY: the thread is attached, the objects are alive.
    unsafe {
        interpreter::_PyInterrupts_CallInRegion(region, function, arguments, count - 1, kwnames)
    }
}

unsafe extern "C" fn wait_for_others(
    _: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    let usage = c"wait_for_others() takes a function and its arguments";
    // SAFETY: they are those of this call.
    unsafe { call_in_region(interpreter::REGION_WAITS, usage, args, count, kwnames) }
}

unsafe extern "C" fn run_open(
    _: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    kwnames: *mut PyObject,
) -> *mut PyObject {
    let usage = c"run_open() takes a function and its arguments";
    // SAFETY: they are those of this call.
    unsafe { call_in_region(interpreter::REGION_OPENS, usage, args, count, kwnames) }
}

unsafe extern "C" fn drop_scopes(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: the thread is attached.
    unsafe { interpreter::_PyInterrupts_DropScopes() };
    none()
}

unsafe extern "C" fn start_afresh(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: the thread is attached.
    unsafe { interpreter::_PyInterrupts_StartAfresh() };
    none()
}

/// Whether `exception` can be sent; if not, TypeError is set.
fn is_interrupt(exception: *mut PyObject) -> bool {
    // SAFETY: a live object.
    let is_instance = unsafe { PyExceptionInstance_Check(exception) } != 0;
    // SAFETY: a live object.
    if is_instance || unsafe { PyExceptionClass_Check(exception) } != 0 {
        return true;
    }
    // SAFETY: a live object.
    let class = unsafe { type_name(exception) };
    // SAFETY: the format takes what follows.
    unsafe {
        interpreter::PyErr_Format(
            type_error(),
            c"an interrupt must be an instance or subclass of BaseException, not %.200s".as_ptr(),
            class,
        )
    };
    false
}

/// The arguments of a function that sends, if they are some: whom, what, and whether it
/// is forced.
///
/// # Safety
///
/// `args` are `count` live objects, and the thread is attached.
unsafe fn what_to_send(
    args: *mut *mut PyObject,
    count: Py_ssize_t,
    usage: &CStr,
) -> Option<(*mut PyObject, *mut PyObject, c_int)> {
    // SAFETY: there are so many.
    let arguments = unsafe { std::slice::from_raw_parts(args, count.unsigned_abs()) };
    let (number, exception, force) = match *arguments {
        [number, exception] => (number, exception, 0),
        // SAFETY: a live object.
        [number, exception, force] => (number, exception, unsafe { PyObject_IsTrue(force) }),
        _ => {
            fail(type_error(), usage);
            return None;
        }
    };
    (force >= 0 && is_interrupt(exception)).then_some((number, exception, force))
}

/// What a function that sends returns.
fn whether_sent(sent: c_int) -> *mut PyObject {
    match sent {
        1 => boolean(true),
        0 => boolean(false),
        _ => ptr::null_mut(),
    }
}

unsafe extern "C" fn send(
    _: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    let usage = c"send() takes a thread identifier, an exception and whether to force it";
    // SAFETY: as the interpreter calls it.
    let Some((ident, exception, force)) = (unsafe { what_to_send(args, count, usage) }) else {
        return ptr::null_mut();
    };
    // SAFETY: a live object.
    let thread = unsafe { interpreter::PyLong_AsUnsignedLong(ident) };
    // SAFETY: the thread is attached.
    if !unsafe { PyErr_Occurred() }.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the thread is attached, the exception is alive.
    whether_sent(unsafe { interpreter::_PyInterrupts_Send(thread, exception, force) })
}

unsafe extern "C" fn send_to_state(
    _: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    let usage = c"send_to_state() takes what current_state() has returned, an exception and whether to force it";
    // SAFETY: as the interpreter calls it.
    let Some((state, exception, force)) = (unsafe { what_to_send(args, count, usage) }) else {
        return ptr::null_mut();
    };
    // SAFETY: a live object.
    let id = unsafe { PyLong_AsUnsignedLongLong(state) };
    // SAFETY: the thread is attached.
    if !unsafe { PyErr_Occurred() }.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the thread is attached, the exception is alive.
    whether_sent(unsafe { interpreter::_PyInterrupts_SendToState(id, exception, force) })
}

unsafe extern "C" fn current_state(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: the thread is attached.
    let id = unsafe { interpreter::_PyInterrupts_CurrentState() };
    // SAFETY: as above.
    unsafe { PyLong_FromUnsignedLongLong(id) }
}

/// Microseconds: what is shorter than one is not none.
fn microseconds(seconds: f64) -> u64 {
    // A float that is too large becomes the largest number.
    (seconds * 1e6).ceil() as u64
}

unsafe extern "C" fn enter_timeout(
    _: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    if count != 2 {
        return fail(
            type_error(),
            c"enter_timeout() takes an exception and a number of seconds",
        );
    }
    // SAFETY: there are two.
    let arguments = unsafe { std::slice::from_raw_parts(args, 2) };
    // SAFETY: a live object.
    if unsafe { PyExceptionInstance_Check(arguments[0]) } == 0 {
        return fail(
            type_error(),
            c"enter_timeout() takes an instance of an exception",
        );
    }
    // SAFETY: a live object.
    let seconds = unsafe { PyFloat_AsDouble(arguments[1]) };
    // SAFETY: the thread is attached.
    if !unsafe { PyErr_Occurred() }.is_null() {
        return ptr::null_mut();
    }
    let time = microseconds(seconds);
    // SAFETY: the thread is attached, the exception is alive.
    if unsafe { interpreter::_PyInterrupts_EnterTimeout(arguments[0], time) } < 0 {
        return ptr::null_mut();
    }
    none()
}

unsafe extern "C" fn leave_timeout(_: *mut PyObject, exception: *mut PyObject) -> *mut PyObject {
    // SAFETY: the thread is attached, the object is alive.
    match unsafe { interpreter::_PyInterrupts_LeaveTimeout(exception) } {
        -1 => ptr::null_mut(),
        raised => boolean(raised != 0),
    }
}

unsafe extern "C" fn set_dispatch(_: *mut PyObject, function: *mut PyObject) -> *mut PyObject {
    // SAFETY: the thread is attached, the object is alive.
    unsafe { interpreter::_PyInterrupts_SetDispatch(function) };
    none()
}

unsafe extern "C" fn kicks(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: only reads a counter.
    let kicks = unsafe { interpreter::_PyInterruptCore_Kicks() };
    // SAFETY: the thread is attached.
    unsafe { PyLong_FromSize_t(kicks) }
}

unsafe extern "C" fn kick_records(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: only reads a counter.
    let records = unsafe { interpreter::_PyInterruptCore_KickRecords() };
    // SAFETY: the thread is attached.
    unsafe { PyLong_FromSize_t(records) }
}

unsafe extern "C" fn kick_signal(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: only reads a setting.
    let signal = unsafe { interpreter::_PyInterruptCore_KickSignal() };
    // SAFETY: the thread is attached.
    unsafe { PyLong_FromLong(signal.into()) }
}

/// The names of a list that is spelled the same in C: the index of the one given.
///
/// # Safety
///
/// The thread is attached, the object is alive.
unsafe fn index_of(names: &[&CStr], object: *mut PyObject) -> Option<c_int> {
    // SAFETY: by the contract.
    if unsafe { PyUnicode_Check(object) } == 0 {
        return None;
    }
    let found = names.iter().position(|name| {
        // SAFETY: a string, by the test above.
        unsafe { PyUnicode_CompareWithASCIIString(object, name.as_ptr()) == 0 }
    });
    found.and_then(|index| index.try_into().ok())
}

unsafe extern "C" fn sweep_start(
    _: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    if count != 3 {
        return fail(
            type_error(),
            c"sweep_start() takes the number of a check, which checks, and an exception",
        );
    }
    // SAFETY: there are three.
    let arguments = unsafe { std::slice::from_raw_parts(args, 3) };
    // SAFETY: a live object.
    let n = unsafe { PyLong_AsSsize_t(arguments[0]) };
    // SAFETY: the thread is attached.
    if !unsafe { PyErr_Occurred() }.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: a live object.
    let place = unsafe { index_of(&[c"eval", c"signals"], arguments[1]) };
    let Some(place) = place.filter(|_| n > 0) else {
        return fail(
            value_error(),
            c"checks are counted from 1, and those of 'eval' or of 'signals'",
        );
    };
    // SAFETY: a live object.
    if unsafe { PyExceptionInstance_Check(arguments[2]) } == 0 {
        return fail(
            type_error(),
            c"sweep_start() takes an instance of an exception",
        );
    }
    // SAFETY: the thread is attached, the exception is alive.
    unsafe { interpreter::_PyInterrupts_SweepStart(n, place, arguments[2]) };
    none()
}

unsafe extern "C" fn sweep_stop(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    let mut delivered: c_int = 0;
    // SAFETY: the thread is attached.
    let seen = unsafe { interpreter::_PyInterrupts_SweepStop(&raw mut delivered) };
    let delivered = boolean(delivered != 0);
    // SAFETY: the format takes what follows, and the reference to the second.
    unsafe { Py_BuildValue(c"nN".as_ptr(), seen, delivered) }
}

/// In the order of the reasons of `_PyInterruptCore_Release()`.
const REARMS: [&CStr; 8] = [
    c"leave",
    c"catch",
    c"unwind",
    c"region",
    c"throw",
    c"scope-exit",
    c"scope-enter",
    c"hand-over",
];

unsafe extern "C" fn suppress_rearm(_: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
    if !interpreter::is_main() {
        return fail(
            value_error(),
            c"suppress_rearm() is for the main interpreter",
        );
    }
    // SAFETY: the interpreter's own object.
    let reason = if name == unsafe { Py_None() } {
        Some(-1)
    } else {
        // SAFETY: a live object.
        unsafe { index_of(&REARMS, name) }
    };
    let Some(reason) = reason else {
        return fail(
            value_error(),
            c"suppress_rearm() takes None, 'leave', 'catch', 'unwind', 'region', 'throw', \
              'scope-exit', 'scope-enter' or 'hand-over'",
        );
    };
    // SAFETY: a number that the core knows.
    unsafe { interpreter::_PyInterruptCore_SuppressRelease(reason) };
    none()
}

unsafe extern "C" fn set_limits(_: *mut PyObject, text: *mut PyObject) -> *mut PyObject {
    if !interpreter::is_main() {
        return fail(
            value_error(),
            c"interrupt limits can only be set in the main interpreter",
        );
    }
    // SAFETY: a live object.
    let string = unsafe { PyUnicode_AsUTF8AndSize(text, ptr::null_mut()) };
    if string.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: a string that lives as long as the object.
    if unsafe { interpreter::_PyInterruptCore_SetLimits(string) } < 0 {
        // SAFETY: the format takes what follows.
        return unsafe {
            interpreter::PyErr_Format(value_error(), c"bad interrupt limits: %R".as_ptr(), text)
        };
    }
    none()
}

unsafe extern "C" fn get_limits(_: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    let mut values = [0; 7];
    // SAFETY: there is room for all.
    unsafe { interpreter::_PyInterruptCore_GetLimits(values.as_mut_ptr()) };
    // SAFETY: the thread is attached.
    let tuple = unsafe { PyTuple_New(7) };
    if tuple.is_null() {
        return tuple;
    }
    for (index, value) in (0..).zip(values) {
        // SAFETY: as above.
        let number = unsafe { PyLong_FromUnsignedLongLong(value.into()) };
        // SAFETY: a new tuple, of that size; null is noticed below.
        unsafe { PyTuple_SetItem(tuple, index, number) };
    }
    // SAFETY: as above.
    if !unsafe { PyErr_Occurred() }.is_null() {
        // SAFETY: ours.
        unsafe { Py_DecRef(tuple) };
        return ptr::null_mut();
    }
    tuple
}

const fn no_arguments(name: &CStr, function: PyCFunction, doc: &CStr) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: PyMethodDefPointer {
            PyCFunction: function,
        },
        ml_flags: METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }
}

const fn one_argument(name: &CStr, function: PyCFunction, doc: &CStr) -> PyMethodDef {
    PyMethodDef {
        ml_flags: METH_O,
        ..no_arguments(name, function, doc)
    }
}

const fn arguments(name: &CStr, function: PyCFunctionFast, doc: &CStr) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: PyMethodDefPointer {
            PyCFunctionFast: function,
        },
        ml_flags: METH_FASTCALL,
        ml_doc: doc.as_ptr(),
    }
}

const fn keyword_arguments(
    name: &CStr,
    function: PyCFunctionFastWithKeywords,
    doc: &CStr,
) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: PyMethodDefPointer {
            PyCFunctionFastWithKeywords: function,
        },
        ml_flags: METH_FASTCALL | METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

pub(crate) static METHODS: Static<[PyMethodDef; 24]> = Static::new([
    no_arguments(
        c"interrupts_masked",
        interrupts_masked,
        c"interrupts_masked($module, /)
--

Whether an interrupt that arrives now would have to wait.",
    ),
    no_arguments(
        c"interrupts_pending",
        interrupts_pending,
        c"interrupts_pending($module, /)
--

Whether an interrupt waits in the current thread.",
    ),
    one_argument(
        c"next_for_caller",
        next_for_caller,
        c"next_for_caller($module, generator, /)
--

next(), and scopes that the generator is in belong to the caller's caller.",
    ),
    arguments(
        c"hand_over",
        hand_over,
        c"hand_over($module, generator=None, /)
--

Give scopes to the function that called the calling function.

Those that a suspended generator is in, or that the calling function has entered
itself and not left.",
    ),
    arguments(
        c"enter_and_register",
        enter_and_register,
        c"enter_and_register($module, enter, manager, register, exit, /)
--

Call enter(manager), then register(manager, exit), masked as in a with statement.

Scopes that were entered belong to the caller's caller.  Returns what the first call has returned.",
    ),
    keyword_arguments(
        c"wait_for_others",
        wait_for_others,
        c"wait_for_others($module, function, /, *args, **kwargs)
--

Call function(*args, **kwargs), which waits for the work of others.

If a with statement has called the calling function to leave, its blocked calls can
be interrupted meanwhile.",
    ),
    keyword_arguments(
        c"run_open",
        run_open,
        c"run_open($module, function, /, *args, **kwargs)
--

Call function(*args, **kwargs) as if nothing around this call masked it.

A thread, which masks while it starts and ends, runs in there what it is made for.",
    ),
    no_arguments(
        c"drop_scopes",
        drop_scopes,
        c"drop_scopes($module, /)
--

Leave all scopes of the current thread, as a worker does between two jobs.",
    ),
    no_arguments(
        c"start_afresh",
        start_afresh,
        c"start_afresh($module, /)
--

Nothing masks what the calling function calls from now on.

Only for a new process that never returns from the calling function.",
    ),
    arguments(
        c"send",
        send,
        c"send($module, thread_id, exception, force=False, /)
--

Send an exception, or a class of exceptions, to a thread.

It is raised there when nothing masks; if it is forced, at once.  Returns whether it
was sent: False if there is no such thread.",
    ),
    arguments(
        c"send_to_state",
        send_to_state,
        c"send_to_state($module, state, exception, force=False, /)
--

The same, to the thread for which current_state() has returned this.

A number of a thread is used again when it has ended, this is not.",
    ),
    no_arguments(
        c"current_state",
        current_state,
        c"current_state($module, /)
--

A number that means the current thread in this interpreter, and never another one.",
    ),
    arguments(
        c"enter_timeout",
        enter_timeout,
        c"enter_timeout($module, exception, seconds, /)
--

Enter a block in which the exception is raised when so much time has passed.

Nothing masks it there that has been entered before.  Raises RuntimeError if there is
no signal that could break a blocked call.",
    ),
    one_argument(
        c"leave_timeout",
        leave_timeout,
        c"leave_timeout($module, exception, /)
--

Leave that block.  Returns whether the exception was raised; it will not be any more.",
    ),
    one_argument(
        c"set_dispatch",
        set_dispatch,
        c"set_dispatch($module, function, /)
--

Call this function with each exception that was sent, before it is raised.

It is called in the thread that the exception was sent to, and returns the exception, or
None if that is not to be raised.",
    ),
    one_argument(
        c"set_limits",
        set_limits,
        c"set_limits($module, text, /)
--

Change limits of the process, given like 'presses=5,limit=30'.

Only the main interpreter can.",
    ),
    no_arguments(
        c"get_limits",
        get_limits,
        c"get_limits($module, /)
--

All limits, as numbers: notice, notice_after, presses, press_gap, dead_time, force, limit.

Times are in milliseconds.",
    ),
    no_arguments(
        c"kicks",
        kicks,
        c"kicks($module, /)
--

For tests: how many signals have come to threads of this process to wake them.",
    ),
    no_arguments(
        c"kick_records",
        kick_records,
        c"kick_records($module, /)
--

For tests: how many thread states can be woken, in all interpreters.",
    ),
    no_arguments(
        c"kick_signal",
        kick_signal,
        c"kick_signal($module, /)
--

The number of the signal that wakes threads; 0 if none can be woken.",
    ),
    arguments(
        c"sweep_start",
        sweep_start,
        c"sweep_start($module, n, where, exception, /)
--

For tests: let an exception arrive at the n-th check from now on.

It arrives as if a signal handler had raised it.  Checks are those of the current
thread, of the eval loop ('eval') or of PyErr_CheckSignals() ('signals').",
    ),
    no_arguments(
        c"sweep_stop",
        sweep_stop,
        c"sweep_stop($module, /)
--

For tests: end what sweep_start() has started.

Returns how many checks there were, and whether the exception has arrived.",
    ),
    one_argument(
        c"suppress_rearm",
        suppress_rearm,
        c"suppress_rearm($module, name, /)
--

For tests: do not ask again at one kind of occasion, in the whole process.

None ends that.",
    ),
    PyMethodDef::zeroed(),
]);
