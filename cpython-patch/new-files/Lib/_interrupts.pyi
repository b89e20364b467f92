# What type checkers need to know about the builtin module _interrupts, which
# rust-core/module makes.  What is public is exported by threading.

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar, final

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Manager = TypeVar("_Manager")
_Exit = TypeVar("_Exit")

class _SupportsNext(Protocol[_T_co]):
    def __next__(self) -> _T_co: ...

# A capsule: Include/cpython/pyinterrupts.h.
C_API: object

# Neither class can be called: new scopes are made by calling a scope.

@final
class NoInterrupts:
    def __enter__(self) -> None: ...
    def __exit__(self, /, *exc_info: object) -> None: ...
    # The default is that of the scope which is called.
    def __call__(self, *, interruptible_waits: bool = ...) -> NoInterrupts: ...

@final
class Interrupts:
    def __enter__(self) -> None: ...
    def __exit__(self, /, *exc_info: object) -> None: ...
    def __call__(self) -> Interrupts: ...

nointerrupts: NoInterrupts
interrupts: Interrupts

def interrupts_masked() -> bool: ...
def interrupts_pending() -> bool: ...

# For the standard library.
def next_for_caller(generator: _SupportsNext[_T], /) -> _T: ...
def hand_over(generator: object = ..., /) -> None: ...
def enter_and_register(
    enter: Callable[[_Manager], _T],
    manager: _Manager,
    register: Callable[[_Manager, _Exit], object],
    exit: _Exit,
    /,
) -> _T: ...
def wait_for_others(
    function: Callable[..., _T], /, *args: object, **kwargs: object
) -> _T: ...
def run_open(
    function: Callable[..., _T], /, *args: object, **kwargs: object
) -> _T: ...
def drop_scopes() -> None: ...
def start_afresh() -> None: ...
def send(
    thread_id: int,
    exception: BaseException | type[BaseException],
    force: bool = ...,
    /,
) -> bool: ...
def send_to_state(
    state: int,
    exception: BaseException | type[BaseException],
    force: bool = ...,
    /,
) -> bool: ...
def current_state() -> int: ...
def enter_timeout(exception: BaseException, seconds: float, /) -> None: ...
def leave_timeout(exception: BaseException, /) -> bool: ...
def set_dispatch(
    function: Callable[[BaseException], BaseException | None], /
) -> None: ...
def kick_signal() -> int: ...
def set_limits(text: str, /) -> None: ...
def get_limits() -> tuple[int, int, int, int, int, int, int]: ...

# For tests.
def kicks() -> int: ...
def sweep_start(
    n: int, where: Literal["eval", "signals"], exception: BaseException, /
) -> None: ...
def sweep_stop() -> tuple[int, bool]: ...
def suppress_rearm(
    name: Literal[
        "leave",
        "catch",
        "unwind",
        "region",
        "throw",
        "scope-exit",
        "scope-enter",
        "hand-over",
    ]
    | None,
    /,
) -> None: ...
