/* Values in flight: a result is not dropped on its way to what guards it.

       lock.acquire()                  with make() as it:
       try:                                ...
           ...

   The call is a check point.  If an interrupt is raised there, nobody releases the
   lock, nobody closes what was made.  So if an interrupt could be raised where a
   call has handed over its result, or where a region ends, this file looks ahead in
   the bytecode: if only steps without a check point lie between there and

   - a check point inside of a `try`, or of the body of a `with`, that does not contain
     the call,
   - a with statement that enters,
   - the body of a `finally`, with a value that is going to be returned: its end looks
     ahead again,

   or if a return leads to a caller of which that is true, it is raised later, there.
   It is never carried out of an `except` that could have caught it, nor out of a `with`,
   which could have, too, unless the value is returned from there.

   All this happens only if something is pending and would be raised.  Whatever is not
   known here to be such a step ends the search: then it is raised at once. */

#include "Python.h"
#include "pycore_code.h"          // _Py_GetBaseOpcode()
#include "pycore_frame.h"         // _PyInterpreterFrame
#include "pycore_interrupts.h"
#include "pycore_opcode_metadata.h" // _PyOpcode_Caches
#include "opcode_ids.h"

/* How far it looks, in instructions and in returns. */
#define MAX_STEPS 32
#define MAX_RETURNS 8
/* Blocks nest up to 20 deep, and each has a handler and what cleans up after it. */
#define MAX_HANDLERS 64


/* The exception table */

static const unsigned char *
read_varint(const unsigned char *p, int *value)
{
    int read = *p & 63;
    while (*p & 64) {
        read = (read << 6) | (*++p & 63);
    }
    *value = read;
    return p + 1;
}

/* The index of the instruction that handles what is raised by this one, or -1. */
static int
handler_at(PyCodeObject *code, int index)
{
    PyObject *table = code->co_exceptiontable;
    const unsigned char *p = (unsigned char *)PyBytes_AS_STRING(table);
    const unsigned char *end = p + PyBytes_GET_SIZE(table);
    while (p < end) {
        int start, size, target, rest;
        p = read_varint(p, &start);
        p = read_varint(p, &size);
        p = read_varint(p, &target);
        p = read_varint(p, &rest);
        if (start > index) {
            break;
        }
        if (index < start + size) {
            return target;
        }
    }
    return -1;
}

static inline int
oparg_at(PyCodeObject *code, int index)
{
    return _PyCode_CODE(code)[index].op.arg;
}

typedef enum {
    /* Whatever the compiler has put there itself. */
    CLEANS_UP,
    /* A `with` or `finally`: runs in any case. */
    RUNS_ALWAYS,
    /* An `except`. */
    CATCHES,
} handler_kind;

static handler_kind
kind_of(PyCodeObject *code, int index)
{
    int level = 0;
    if (_Py_GetBaseOpcode(code, index) == NIT) {
        level = oparg_at(code, index);
        index++;
    }
    if (_Py_GetBaseOpcode(code, index) != PUSH_EXC_INFO) {
        return CLEANS_UP;
    }
    if (_Py_GetBaseOpcode(code, index + 1) == WITH_EXCEPT_START) {
        return RUNS_ALWAYS;
    }
    /* That of `finally` opens a region: what cleans up after it has the level
       outside. */
    int cleanup = handler_at(code, index);
    if (cleanup >= 0 && _Py_GetBaseOpcode(code, cleanup) == NIT
        && ((oparg_at(code, cleanup) & _PyInterruptLevel_DEPTH_MASK)
            < (level & _PyInterruptLevel_DEPTH_MASK)))
    {
        return RUNS_ALWAYS;
    }
    return CATCHES;
}

/* All handlers around an instruction, innermost first. */
typedef struct {
    int count;
    int catching;
    int handlers[MAX_HANDLERS];
} protection;

static void
protection_of(PyCodeObject *code, int index, protection *result)
{
    result->count = result->catching = 0;
    while (result->count < MAX_HANDLERS) {
        int handler = handler_at(code, index);
        if (handler < 0) {
            break;
        }
        result->handlers[result->count++] = handler;
        result->catching += kind_of(code, handler) == CATCHES;
        /* A handler's first NIT is outside of what cleans up after it. */
        index = handler + (_Py_GetBaseOpcode(code, handler) == NIT);
    }
}

static int
has_handler(const protection *around, int handler)
{
    for (int i = 0; i < around->count; i++) {
        if (around->handlers[i] == handler) {
            return 1;
        }
    }
    return 0;
}


/* Looking ahead */

typedef enum {
    /* On some way an interrupt may not be caught by what can catch it now, or
       nobody knows. */
    ESCAPES,
    /* Every way comes to a check point. */
    CHECKS,
    /* And at least one to one where something guards the value. */
    IS_GUARDED,
} outcome;

/* What is known of the value that a condition is about. */
typedef struct {
    /* True, False, None or NULL.  Borrowed. */
    PyObject *top;
    /* How often it is on top of the stack. */
    int copies;
} known_value;

static known_value
know(PyObject *value)
{
    int is_constant = (value == Py_True || value == Py_False
                       || value == Py_None);
    return (known_value){is_constant ? value : NULL, 1};
}

static void
pop_known(known_value *known)
{
    if (--known->copies <= 0) {
        known->top = NULL;
    }
}

static PyObject *
negated(PyObject *truth)
{
    return (truth == Py_True ? Py_False
            : truth == Py_False ? Py_True : NULL);
}

/* Does this conditional jump jump?  -1 if that is not known. */
static int
jumps(int opcode, PyObject *top)
{
    if (top == NULL) {
        return -1;
    }
    switch (opcode) {
        case POP_JUMP_IF_TRUE:
            return top == Py_True;
        case POP_JUMP_IF_FALSE:
            return top == Py_False;
        case POP_JUMP_IF_NONE:
            return top == Py_None;
        default:
            return top != Py_None;
    }
}

/* After the NIT at `index`, does a with statement leave?  If so, return the index
   after its TIT, otherwise 0. */
static int
skip_exit(PyCodeObject *code, int index)
{
    while (_Py_GetBaseOpcode(code, ++index) == LOAD_CONST
           || _Py_GetBaseOpcode(code, index) == EXTENDED_ARG)
    {
    }
    if (_Py_GetBaseOpcode(code, index) != CALL) {
        return 0;
    }
    index += 1 + _PyOpcode_Caches[CALL];
    if (_Py_GetBaseOpcode(code, index) != POP_TOP
        || _Py_GetBaseOpcode(code, index + 1) != TIT)
    {
        return 0;
    }
    return index + 2;
}

/* Where it started. */
typedef struct {
    _PyInterpreterFrame *frame;
    PyCodeObject *code;
    protection around;
    /* A call has handed over its result. */
    int has_value;
    int returns;
} origin;

static outcome look_in_caller(const origin *from, PyObject *value,
                              int guarded);

static outcome
both(outcome one, outcome other)
{
    if (one == ESCAPES || other == ESCAPES) {
        return ESCAPES;
    }
    return Py_MAX(one, other);
}

static outcome
look_ahead(const origin *from, int index, known_value known, int guarded,
           int steps)
{
    PyCodeObject *code = from->code;
    int oparg = 0;
    /* A `with`, for a return and nothing else. */
    int leaves = 0;
    /* The body of a `finally`, with a value that is going to be returned. */
    int in_finally = 0;
    for (; steps > 0; steps--) {
        if (index >= Py_SIZE(code)) {
            return ESCAPES;
        }
        int opcode = _Py_GetBaseOpcode(code, index);
        if (opcode == NOP) {
            /* Cannot raise: where a `try` starts, no handler is noted for it. */
            index++;
            continue;
        }
        protection here;
        protection_of(code, index, &here);
        int catching = 0;
        for (int i = 0; i < from->around.count; i++) {
            int handler = from->around.handlers[i];
            catching += (kind_of(code, handler) == CATCHES
                         && has_handler(&here, handler));
        }
        if (catching < from->around.catching) {
            return ESCAPES;
        }
        if (leaves && opcode != RETURN_VALUE && opcode != SWAP && opcode != NIT
            && opcode != EXTENDED_ARG)
        {
            return ESCAPES;
        }
        if (here.count > 0 && !has_handler(&from->around, here.handlers[0])
            && kind_of(code, here.handlers[0]) != CLEANS_UP)
        {
            /* If there is a check point in there, which is still to be found. */
            guarded = 1;
        }
        oparg = (oparg << 8) | oparg_at(code, index);
        int next = index + 1 + _PyOpcode_Caches[opcode];
        switch (opcode) {
            case NIT: {
                int following = _Py_GetBaseOpcode(code, index + 1);
                if (following == BEFORE_WITH || following == BEFORE_ASYNC_WITH) {
                    /* Its exit is a check point at the latest. */
                    return IS_GUARDED;
                }
                int after = skip_exit(code, index);
                if (after != 0) {
                    next = after;
                    leaves = 1;
                    known.top = NULL;
                }
                else {
                    in_finally = from->has_value && known.copies > 0;
                }
                break;
            }
            case TIT:
                in_finally = 0;
                break;
            case RETURN_VALUE:
                return (from->around.catching > 0 ? ESCAPES
                        : look_in_caller(from, known.top, guarded));
            case RETURN_CONST:
                return (from->around.catching > 0 ? ESCAPES
                        : look_in_caller(from, PyTuple_GET_ITEM(
                                                   code->co_consts, oparg),
                                         guarded));
            case POP_JUMP_IF_TRUE:
            case POP_JUMP_IF_FALSE:
            case POP_JUMP_IF_NONE:
            case POP_JUMP_IF_NOT_NONE: {
                int jump = jumps(opcode, known.top);
                pop_known(&known);
                if (jump < 0) {
                    if (in_finally || leaves) {
                        return ESCAPES;
                    }
                    return both(look_ahead(from, next, known, guarded,
                                           steps - 1),
                                look_ahead(from, next + oparg, known, guarded,
                                           steps - 1));
                }
                if (jump) {
                    next += oparg;
                }
                break;
            }
            case JUMP_FORWARD:
                next += oparg;
                break;
            case EXTENDED_ARG:
                /* Not a step. */
                index = next;
                steps++;
                continue;
            case CALL:
            case CALL_KW:
            case CALL_FUNCTION_EX:
                /* In a `finally` it waits for the end, which looks ahead again. */
                return guarded || in_finally ? IS_GUARDED : CHECKS;
            case JUMP_BACKWARD:
            case RESUME:
                return guarded ? IS_GUARDED : CHECKS;
            case COPY:
                if (oparg == 1) {
                    known.copies++;
                }
                else {
                    known.top = NULL;
                }
                break;
            case TO_BOOL:
                if (known.top == Py_None) {
                    known = know(Py_False);
                }
                break;
            case UNARY_NOT:
                known.top = negated(known.top);
                break;
            case POP_TOP:
            case STORE_ATTR:
            case STORE_DEREF:
            case STORE_FAST:
            case STORE_GLOBAL:
            case STORE_NAME:
            case STORE_SUBSCR:
                pop_known(&known);
                break;
            case END_SEND:
                break;
            /* Code of Python that these run has check points of its own, and is
               inside of what guards the value or this side of it. */
            case BINARY_SUBSCR:
            case BUILD_LIST:
            case BUILD_TUPLE:
            case COMPARE_OP:
            case CONTAINS_OP:
            case EXIT_INIT_CHECK:
            case IS_OP:
            case LOAD_ATTR:
            case LOAD_CONST:
            case LOAD_DEREF:
            case LOAD_FAST:
            case LOAD_FAST_CHECK:
            case LOAD_FAST_LOAD_FAST:
            case LOAD_GLOBAL:
            case LOAD_NAME:
            case PUSH_NULL:
            case STORE_FAST_LOAD_FAST:
            case STORE_FAST_STORE_FAST:
            case STORE_SLICE:
            case SWAP:
            case UNPACK_EX:
            case UNPACK_SEQUENCE:
                known.top = NULL;
                break;
            default:
                return ESCAPES;
        }
        oparg = 0;
        index = next;
    }
    return ESCAPES;
}

static inline int
index_of(_PyInterpreterFrame *frame, PyCodeObject *code)
{
    return (int)(frame->instr_ptr - _PyCode_CODE(code));
}

static outcome
look_from(_PyInterpreterFrame *frame, int index, int next, int has_value,
          PyObject *value, int guarded, int returns)
{
    origin from = {
        .frame = frame,
        .code = _PyFrame_GetCode(frame),
        .has_value = has_value,
        .returns = returns,
    };
    protection_of(from.code, index, &from.around);
    return look_ahead(&from, next, know(value), guarded, MAX_STEPS);
}

static int
is_call(int opcode)
{
    return (opcode == CALL || opcode == CALL_KW
            || opcode == CALL_FUNCTION_EX);
}

static outcome
look_in_caller(const origin *from, PyObject *value, int guarded)
{
    _PyInterpreterFrame *caller = from->frame->previous;
    int through_c = 0;
    while (caller != NULL && caller->owner == FRAME_OWNED_BY_CSTACK) {
        caller = caller->previous;
        through_c = 1;
    }
    if (caller == NULL || from->returns >= MAX_RETURNS
        || caller->interrupt_level != _PyInterruptLevel_OPEN)
    {
        return ESCAPES;
    }
    PyCodeObject *code = _PyFrame_GetCode(caller);
    int index = index_of(caller, code);
    int opcode = _Py_GetBaseOpcode(code, index);
    if (through_c && !is_call(opcode)) {
        /* A call looks ahead again when the function in C returns. */
        return ESCAPES;
    }
    if (through_c) {
        /* That of the call is in any case inside of what can catch it. */
        int next = index + 1 + _PyOpcode_Caches[opcode];
        return (guarded ? IS_GUARDED
                : Py_MAX(CHECKS, look_from(caller, index, next, 1, NULL, 0,
                                           from->returns + 1)));
    }
    return look_from(caller, index, index + caller->return_offset, 1, value,
                     guarded, from->returns + 1);
}

int
_PyInterrupts_ValueInFlight(PyThreadState *tstate)
{
    _PyInterpreterFrame *frame = tstate->current_frame;
    if (frame == NULL || frame->owner == FRAME_OWNED_BY_CSTACK
        || !_PyInterruptCore_GetMasks())
    {
        return 0;
    }
    PyCodeObject *code = _PyFrame_GetCode(frame);
    int index = index_of(frame, code);
    int opcode = _Py_GetBaseOpcode(code, index);
    int has_value = is_call(opcode);
    if (!has_value && opcode != TIT) {
        return 0;
    }
    PyObject *value = NULL;
    if (has_value && frame->stacktop > code->co_nlocalsplus) {
        value = frame->localsplus[frame->stacktop - 1];
    }
    int next = index + 1 + _PyOpcode_Caches[opcode];
    return look_from(frame, index, next, has_value, value, 0, 0)
           == IS_GUARDED;
}
