"""The process of one program under test: it defines the function, then answers the test's calls.

Nothing in this process decides anything. It holds one descriptor, which carries the answers as plain data. The program may do
whatever it likes with it: an answer is all that it can send.
"""

import sys
from types import ModuleType, TracebackType
from typing import Any

from . import chance
from .channel import Channel, Closed
from .codec import Malformed, NotPlain, encode

FILE = "<program>"
_ATOMS = (int, float, complex, bool, str, bytes, type(None))


def run(channel: Channel, source: str, entry_point: str) -> None:
    """Execute the program and answer calls until the test is done."""
    chance.begin(source)
    try:
        function = define(source)[entry_point]
        channel.send("ready")
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is its result
        if isinstance(error, KeyError) and error.args == (entry_point,):
            error = NameError(f"name '{entry_point}' is not defined")
        channel.send(*_raised(error))
        return
    while True:
        try:
            _, args, kwargs = channel.receive()
        except Closed:
            return
        answer(channel, function, args, kwargs)


def define(source: str) -> dict[str, Any]:
    """Execute the program as a module that is found by its name, as dataclasses and pickle expect."""
    module = ModuleType("program")
    sys.modules[module.__name__] = module
    exec(compile(source, FILE, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the purpose
    return module.__dict__


def answer(channel: Channel, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Call the function and send its result."""
    before = None
    if not all(type(arg) in _ATOMS for arg in (*args, *kwargs.values())):
        before = encode((args, kwargs), channel.max_bytes)
    try:
        value = function(*args, **kwargs)
        changed = None
        if before is not None and encode((args, kwargs), channel.max_bytes) != before:
            changed = (args, kwargs)
        channel.send("return", value, changed, iterators=True)
    except (Closed, Malformed):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is its result
        channel.send(*_raised(error))


def _raised(error: BaseException) -> tuple[Any, ...]:
    names = tuple(cls.__name__ for cls in type(error).__mro__ if issubclass(cls, BaseException))
    if isinstance(error, NotPlain):
        names = ("NotPlain",)
    text = describe(error)
    try:
        encode(error.args, 4096)
        args = tuple(error.args)
    except NotPlain:
        args = (text,)
    return "raise", names, args, text


def describe(error: BaseException, file: str = FILE, where: str = "line") -> str:
    """Return the exception's type, its line in `file` and its message, in one short line."""
    name = type(error).__name__
    line = line_of(error.__traceback__, file)
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno
    place = f" at {where} {line}" if line else ""
    try:
        message = " ".join((error.msg if isinstance(error, SyntaxError) else str(error))[:1000].split())
    except Exception as failure:  # noqa: BLE001 - an exception of the program may have no text
        message = f"its text raised {type(failure).__name__}"
    return f"{name}{place}{f': {message}' if message else ''}"[:300]


def line_of(trace: TracebackType | None, file: str) -> int | None:
    """Return the innermost line of `file` from which an exception came."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
