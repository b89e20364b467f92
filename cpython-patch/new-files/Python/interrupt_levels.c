/* The level before an instruction, found in the bytecode alone.

   A frame knows the level of the NIT or TIT it executed last.  That is not
   enough when a debugger sets f_lineno: it jumps over the instructions that
   would have stored the right one.  So the level of the target is computed the
   way mark_stacks() in frameobject.c computes its stack.  And an exception
   arrives at its handler before the NIT there has stored its level. */

#include "Python.h"
#include "pycore_code.h"          // _PyCode_GetCode()
#include "pycore_frame.h"         // _PyFrame_GetCode()
#include "pycore_interrupts.h"    // _PyInterruptLevel_InForce()
#include "pycore_opcode_metadata.h" // _PyOpcode_Caches
#include "opcode.h"               // NIT, TIT


/* Does control never pass from this instruction to the next one? */
static int
ends_flow(int opcode)
{
    switch (opcode) {
        case JUMP_FORWARD:
        case JUMP_BACKWARD:
        case JUMP_BACKWARD_NO_INTERRUPT:
        case RETURN_VALUE:
        case RETURN_CONST:
        case RAISE_VARARGS:
        case RERAISE:
        case INTERPRETER_EXIT:
            return 1;
        default:
            return 0;
    }
}

/* Store the level of an instruction that control reaches.  Returns 1 if it was
   not known before. */
static int
reach(int *levels, int index, int level)
{
    /* A handler starts with NIT if its level can differ from where the
       exception came from, so the first one found is as good as any. */
    if (levels[index] >= 0) {
        return 0;
    }
    levels[index] = level;
    return 1;
}

/* Find the level before each reachable instruction, -1 for the others.  The
   compiler has checked that each has only one (flowgraph.c), so every
   instruction needs to be visited once, in any order. */
static void
find_levels(PyCodeObject *co, const _Py_CODEUNIT *code, int len, int *levels)
{
    for (int i = 0; i < len; i++) {
        levels[i] = -1;
    }
    levels[0] = _PyInterruptLevel_OPEN;
    int todo = 1;
    while (todo) {
        todo = 0;
        int next;
        for (int i = 0; i < len; i = next) {
            int level = levels[i];
            int opcode = _Py_GetBaseOpcode(co, i);
            int oparg = code[i].op.arg;
            while (opcode == EXTENDED_ARG) {
                i++;
                opcode = _Py_GetBaseOpcode(co, i);
                oparg = (oparg << 8) | code[i].op.arg;
                levels[i] = level;
            }
            next = i + 1 + _PyOpcode_Caches[opcode];
            if (level < 0) {
                continue;
            }
            if (opcode == NIT || opcode == TIT) {
                level = _PyInterruptLevel_InForce(oparg);
            }
            if (OPCODE_HAS_JUMP(opcode)) {
                int back = (opcode == JUMP_BACKWARD
                            || opcode == JUMP_BACKWARD_NO_INTERRUPT);
                int target = back ? next - oparg : next + oparg;
                todo |= reach(levels, target, level) && target < i;
            }
            if (next < len && !ends_flow(opcode)) {
                reach(levels, next, level);
            }
        }
        unsigned char *scan =
            (unsigned char *)PyBytes_AS_STRING(co->co_exceptiontable);
        unsigned char *end = scan + PyBytes_GET_SIZE(co->co_exceptiontable);
        while (scan < end) {
            int start, size, handler, depth_and_lasti;
            scan = parse_varint(scan, &start);
            scan = parse_varint(scan, &size);
            scan = parse_varint(scan, &handler);
            scan = parse_varint(scan, &depth_and_lasti);
            for (int i = start; i < start + size; i++) {
                if (levels[i] >= 0) {
                    todo |= reach(levels, handler, levels[i]);
                    break;
                }
            }
        }
    }
}

int
_PyInterrupts_LevelAt(PyCodeObject *co, int target)
{
    int len = (int)Py_SIZE(co);
    PyObject *code = _PyCode_GetCode(co);
    if (code == NULL) {
        return -1;
    }
    int *levels = PyMem_New(int, len);
    if (levels == NULL) {
        Py_DECREF(code);
        PyErr_NoMemory();
        return -1;
    }
    find_levels(co, (_Py_CODEUNIT *)PyBytes_AS_STRING(code), len, levels);
    int level = levels[target];
    PyMem_Free(levels);
    Py_DECREF(code);
    return level < 0 ? _PyInterruptLevel_OPEN : level;
}

void
_PyInterrupts_ReleaseInHandler(PyThreadState *tstate,
                               _PyInterpreterFrame *frame, int handler)
{
    PyCodeObject *code = _PyFrame_GetCode(frame);
    int level = frame->interrupt_level;
    if (_Py_GetBaseOpcode(code, handler) == NIT) {
        level = _PyCode_CODE(code)[handler].op.arg;
    }
    _PyInterrupts_SetFloor(tstate, frame, level);
    _PyInterrupts_Release(tstate, _PyInterruptCore_CATCH);
}
