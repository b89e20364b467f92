"""The compiler stage that puts a check at the head of every loop body.

It runs after all analysis (behind GilCheck) and adds one kind of node that has no
expression, no name and no type, so no decision of the compiler about the author's
code depends on it.  The head of the body is reached once per iteration, also after
``continue``; that is the back edge plus the first entry.
"""

from dataclasses import dataclass

from Cython.Compiler import Naming, Nodes
from Cython.Compiler.Visitor import TreeVisitor, VisitorTransform

# Whose methods clean up: an interrupt there would be lost as "unraisable", or would
# cut the cleanup short.
CLEANUP_METHODS = frozenset(
    ['__dealloc__', '__del__', '__exit__', '__aexit__', '__releasebuffer__'])

GIL, NO_GIL, TEAM = 'gil', 'nogil', 'prange'

TEAM_CNAME = '__pyx_interruptible_team'
MEMBER_CNAME = '__pyx_interruptible_member'     # each thread's


@dataclass(frozen=True, order=True)
class Loop:
    """What became of one loop; reason is '' if it got a check."""
    file: str
    line: int
    column: int
    function: str
    kind: str
    reason: str = ''

    def __str__(self):
        what = self.reason and f'no check: {self.reason}' or f'check ({self.kind})'
        return f'{self.file}:{self.line}: loop in {self.function}: {what}'
HERE_CNAME = '__pyx_interruptible_here'
EXCLUDED = 'excluded by the caller'

# States of InsertLoopChecks.hoist
CAN, DONE, CANNOT = 'can', 'done', 'cannot'


class LoopCheckNode(Nodes.StatNode):
    """One check; the first statement of a loop's body."""

    child_attrs = []
    is_terminator = False

    def __init__(self, pos, kind, prange=None, is_head=False, hoisted=False):
        super().__init__(pos)
        self.hoisted = hoisted
        self.kind = kind
        self.prange = prange
        self.is_head = is_head

    def analyse_declarations(self, env):
        pass

    def analyse_expressions(self, env):
        return self

    def generate_function_definitions(self, env, code):
        pass

    def annotate(self, code):
        pass

    def generate_execution_code(self, code):
        if self.kind == TEAM:
            if self.is_head:
                # Where loops inside go, too.  Not the label of `break`: Cython then
                # puts a memory fence into every iteration.  The iterations that remain
                # are skipped one by one, each by this check.
                self.prange.interruptible_label = code.continue_label
            code.putln(f'if (unlikely(interruptible_cy_team_check('
                       f'&{TEAM_CNAME}, &{MEMBER_CNAME}) < 0)) {{')
            code.put_goto(self.prange.interruptible_label)
            code.putln('}')
            return
        name = 'check' if self.kind == GIL else 'check_nogil'
        check = (f'interruptible_cy_{name}_at({HERE_CNAME})' if self.hoisted
                 else f'interruptible_cy_{name}()')
        code.putln(code.error_goto_if_neg(check, self.pos))


class _BlockNode(Nodes.StatNode):
    """A C block around a statement, with a declaration."""

    child_attrs = ['body']
    declaration = None

    def __init__(self, body):
        super().__init__(body.pos)
        self.body = body
        self.is_terminator = body.is_terminator

    def analyse_declarations(self, env):
        pass

    def analyse_expressions(self, env):
        return self

    def generate_function_definitions(self, env, code):
        self.body.generate_function_definitions(env, code)

    def annotate(self, code):
        self.body.annotate(code)

    def generate_execution_code(self, code):
        code.putln('{')
        code.putln(self.declaration)
        self.body.generate_execution_code(code)
        code.putln('}')


class HoistNode(_BlockNode):
    """Around the outermost loop: the address of the thread's record."""
    declaration = f'interruptible_cy_thread *const {HERE_CNAME} = interruptible_cy_find();'


class HoldNode(_BlockNode):
    """Around what must not be interrupted: checks in what it calls do not raise."""
    declaration = 'INTERRUPTIBLE_CY_HOLD'


class _CallsFinder(TreeVisitor):
    """Does a part of the tree call anything that can raise?  (Small noexcept functions
    that do not are not made slower.)"""

    found = False

    def visit_CallNode(self, node):
        kind = getattr(getattr(node, 'function', None), 'type', None)
        if not (kind is not None and kind.is_cfunction
                and not kind.exception_check and kind.exception_value is None
                and not kind.return_type.is_pyobject):
            self.found = True
        self.visitchildren(node)

    def visit_FuncDefNode(self, node):
        pass                    # defined here, not called

    def visit_Node(self, node):
        if not self.found:
            self.visitchildren(node)


def _calls(node):
    finder = _CallsFinder()
    finder.visit(node)
    return finder.found


class _TeamMixin:
    """The outermost parallel construct: begins, leaves and ends the team."""

    def setup_parallel_control_flow_block(self, code):
        super().setup_parallel_control_flow_block(code)
        code.putln(f'interruptible_cy_team {TEAM_CNAME};')
        code.putln(f'interruptible_cy_team_begin(&{TEAM_CNAME});')

    def begin_parallel_block(self, code):
        super().begin_parallel_block(code)
        code.putln(f'interruptible_cy_member {MEMBER_CNAME} = '
                   f'interruptible_cy_team_enter(&{TEAM_CNAME});')

    def end_parallel_block(self, code):
        # In every thread, before OpenMP's barrier: the owner must not wait there while
        # others may still ask it.
        code.putln(f'interruptible_cy_team_leave(&{TEAM_CNAME}, &{MEMBER_CNAME});')
        super().end_parallel_block(code)

    def restore_labels(self, code):
        super().restore_labels(code)
        fetched = f'{Naming.parallel_exc_type} != NULL' if self.error_label_used else '0'
        code.putln(f'if (unlikely(interruptible_cy_team_end(&{TEAM_CNAME}, {fetched}) < 0)) {{')
        if self.error_label_used:
            # A thread's own exception, fetched already, yields to the interrupt.
            code.begin_block()
            code.put_ensure_gil(declare_gilstate=True)
            code.putln('PyObject *__pyx_interruptible_t, *__pyx_interruptible_v, '
                       '*__pyx_interruptible_tb;')
            code.putln('PyErr_Fetch(&__pyx_interruptible_t, &__pyx_interruptible_v, '
                       '&__pyx_interruptible_tb);')
            for cname in self.parallel_exc:
                code.putln(f'Py_CLEAR({cname});')
            code.putln('PyErr_Restore(__pyx_interruptible_t, __pyx_interruptible_v, '
                       '__pyx_interruptible_tb);')
            code.put_release_ensured_gil()
            code.end_block()
        code.putln(code.error_goto(self.pos))
        code.putln('}')


class _TeamRangeNode(_TeamMixin, Nodes.ParallelRangeNode):
    pass


class _TeamBlockNode(_TeamMixin, Nodes.ParallelWithBlockNode):
    pass


class InsertLoopChecks(VisitorTransform):
    """Walk the analysed tree of one module; afterwards .loops says what was done."""

    def __init__(self, exclude=()):
        super().__init__()
        self.exclude = frozenset(exclude)
        self.loops = []

    def __call__(self, root):
        self.function = '<module>'
        self.holds = False          # is there any HoldNode?
        self.cannot = ''            # why the current function cannot be given checks
        self.gil = True
        self.leave = ''             # why the current place cannot
        self.prange = None          # innermost prange whose iteration can be ended
        self.in_parallel = False
        self.hoist = CAN            # the address of the thread's record
        tree = super().__call__(root)
        if self.holds or any(not loop.reason for loop in self.loops):
            from . import header_text
            root.scope.add_include_file(None, header_text(), late=False)
        return tree

    def _with(self, node, attrs=None, exclude=None, **state):
        saved = {name: getattr(self, name) for name in state}
        for name, value in state.items():
            setattr(self, name, value)
        self.visitchildren(node, attrs, exclude)
        for name, value in saved.items():
            setattr(self, name, value)
        return node

    # Functions

    def visit_FuncDefNode(self, node):
        entry = getattr(node, 'entry', None)
        name = getattr(entry, 'qualified_name', None) or getattr(node, 'name', None)
        name = str(name or self.function)
        outer = node.outer_attrs        # defaults, decorators: belong outside
        if outer:
            self.visitchildren(node, outer)
        cannot = self._why_not(node, name)
        self._with(
            node, exclude=outer, function=name,
            cannot=cannot, gil=not node.local_scope.nogil,
            leave='', prange=None, in_parallel=False, hoist=CAN)
        if cannot and cannot != EXCLUDED and not node.is_generator and _calls(node.body):
            self._hold(node, 'body')
        return node

    def visit_GeneratorBodyDefNode(self, node):
        # The body belongs to the generator function around it: its name, its verdict.
        # After a yield the thread may be another, and C blocks are jumped into.
        return self._with(node, gil=True, leave='', prange=None, in_parallel=False,
                          hoist=CANNOT)

    def _why_not(self, node, name):
        simple = name.rpartition('.')[2]
        if name in self.exclude or simple in self.exclude:
            return EXCLUDED
        if simple in CLEANUP_METHODS:
            return f'{simple} is cleanup'
        if isinstance(node, Nodes.CFuncDefNode) and node.type.exception_check == '+':
            return 'the function reports errors as C++ exceptions'
        if node.error_value() is None and not node.caller_will_check_exceptions():
            return 'the function is noexcept: it cannot report an exception'
        return ''

    # Places

    def visit_TryFinallyStatNode(self, node):
        # A jump to prange's label from inside would pass by the finally clause.
        self._with(node, attrs=['body'], prange=None)
        clauses = [name for name in node.child_attrs if name != 'body']
        self._with(node, attrs=clauses, prange=None,
                   leave=self.leave or 'in a finally clause, which is cleanup')
        for name in clauses:
            # Of the author's; not in generators, where a yield jumps into the block.
            if name.startswith('finally') and self.hoist != CANNOT \
                    and getattr(node, name, None) is not None and _calls(getattr(node, name)):
                self._hold(node, name)
        return node

    def _hold(self, node, name):
        self.holds = True
        setattr(node, name, HoldNode(getattr(node, name)))

    def visit_GILStatNode(self, node):
        gil = node.state == 'gil'
        return self._with(node, gil=gil, prange=None)

    def visit_ParallelWithBlockNode(self, node):
        return self._parallel(node, _TeamBlockNode)

    def visit_ParallelRangeNode(self, node):
        self._parallel(node, _TeamRangeNode)
        return node

    def _parallel(self, node, team_class):
        is_range = isinstance(node, Nodes.ParallelRangeNode)
        reason = self.cannot or self.leave
        if not reason and node.acquire_gil:
            reason = 'a parallel construct that holds the GIL'
        if not reason and not self.in_parallel:
            node.__class__ = team_class
        if is_range:
            self._note(node, TEAM, reason)
            # Bounds are evaluated by the owner; the else clause after the team's end.
            self._with(node, attrs=['else_clause'],
                       leave=self.leave or 'in the else clause of prange')
            self._with(node, attrs=['body'], in_parallel=True, gil=False, leave=reason,
                       prange=None if reason else node)
            if not reason:
                self._put(node, LoopCheckNode(node.pos, TEAM, node, is_head=True))
        else:
            self._with(node, attrs=['body'], in_parallel=True, gil=False, leave=reason,
                       prange=None)
        return node

    # Loops

    def visit_LoopNode(self, node):
        reason = self.cannot or self.leave
        kind = GIL if self.gil else NO_GIL
        if self.in_parallel:
            kind = TEAM
            if not reason and self.prange is None:
                reason = ('in a parallel() block, inside try/finally or inside "with gil": '
                          'prange cannot be left from there')
        self._note(node, kind, reason)
        hoist = not reason and kind != TEAM and self.hoist == CAN
        if hoist:
            self._with(node, hoist=DONE)
        else:
            self.visitchildren(node)
        if not reason:
            self._put(node, LoopCheckNode(node.pos, kind, self.prange,
                                          hoisted=hoist or self.hoist == DONE))
        return HoistNode(node) if hoist else node

    def visit_Node(self, node):
        self.visitchildren(node)
        return node

    @staticmethod
    def _put(node, check):
        body = node.body
        if isinstance(body, Nodes.StatListNode):
            body.stats.insert(0, check)
        else:
            new = Nodes.StatListNode(body.pos, stats=[check, body])
            new.is_terminator = body.is_terminator
            node.body = new

    def _note(self, node, kind, reason):
        source, line, column = node.pos
        # The file as given, not as an absolute path.
        loop = Loop(source.get_description(), line, column, self.function, kind, reason)
        # Fused functions and finally clauses are in the tree more than once.
        if loop not in self.loops:
            self.loops.append(loop)
