"""The process of one test: it never runs a line of the program under test.

The prompt belongs to the problem, so its helpers are defined here. A function that asks the program's process replaces the one
to be completed. `passed` is returned only if the test's own `check` ran to its end and the channel stayed intact until then.
"""

import builtins
from collections.abc import Callable
from typing import Any

from . import chance
from .candidate import describe, line_of
from .channel import Channel, Closed
from .codec import Malformed, NotPlain

FILE, PROMPT = "<test>", "<prompt>"
NO_ANSWER = "the program sent an invalid answer"
_ENDS_LOOPS = (StopIteration, StopAsyncIteration, GeneratorExit)


class Gone(BaseException):
    """The program can no longer answer. Not an Exception: a test that tolerates exceptions does not tolerate this."""


class Asked:
    """The function under test, as the test sees it."""

    def __init__(self, channel: Channel, names: dict[str, Any]) -> None:
        self.channel = channel
        self.names = names
        self.broken: tuple[str, str] | None = None
        """Outcome and detail, once no further answer can count."""
        self.raised: tuple[BaseException, str] | None = None
        """The last exception of the program that was raised here, and where the program raised it."""

    def ready(self) -> None:
        """Wait until the program is defined."""
        self._expect("ready", 1)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the program returns or raise what it raises; arguments change here as the program changed them."""
        if self.broken is not None:
            raise Gone
        try:
            self.channel.send("call", args, kwargs)
        except NotPlain as error:
            raise self._break("error", f"an argument of the test: {error}") from None
        except Closed:
            raise self._break("gone", "") from None
        _, value, changed = self._expect("return", 3)
        if changed is not None:
            if not (type(changed) is tuple and [type(part) for part in changed] == [tuple, dict]):
                raise self._break("error", NO_ANSWER)
            merged((args, kwargs), changed)
        return value

    def _expect(self, kind: str, length: int) -> tuple[Any, ...]:
        try:
            frame = self.channel.receive()
        except Closed:
            raise self._break("gone", "") from None
        except Malformed as error:
            raise self._break("error", f"{NO_ANSWER}: {error}") from None
        if frame[0] == kind and len(frame) == length:
            return frame
        if frame[0] == "raise" and len(frame) == 4:
            raise self._exception(*frame[1:])
        raise self._break("error", NO_ANSWER)

    def _break(self, outcome: str, detail: str) -> Gone:
        self.broken = (outcome, detail)
        return Gone()

    def _exception(self, names: Any, args: Any, text: Any) -> BaseException:
        """Return an exception of the nearest class that both sides know: a builtin, or one from the prompt."""
        if type(names) is not tuple or type(args) is not tuple or type(text) is not str:
            return self._break("error", NO_ANSWER)
        text = printable(text)
        if names == ("NotPlain",):
            return self._break("error", text)
        for name in names:
            known = self.names.get(name, getattr(builtins, name, None)) if type(name) is str else None
            if isinstance(known, type) and issubclass(known, BaseException):
                if issubclass(known, _ENDS_LOOPS):
                    # It would end a loop of the test early, as in all(map(candidate, inputs)), as if the assertion had held.
                    known = RuntimeError
                try:
                    exception = known(*args)
                except Exception:  # noqa: BLE001, S112 - UnicodeDecodeError, for one, needs other arguments: take its parent
                    continue
                self.raised = (exception, text)
                return exception
        return self._break("error", text)


def printable(text: str) -> str:
    """Return text from the program as one line that is harmless to a terminal."""
    return "".join(char if char.isprintable() else " " for char in text[:300])


def merged(old: Any, new: Any) -> Any:
    """Return `new`, reusing the containers of `old` where possible: one that is still in its place keeps its identity."""
    if type(old) is not type(new):
        return new
    if isinstance(old, list | tuple):
        items = [*map(merged, old, new), *new[len(old) :]]
        if isinstance(old, tuple):
            same = len(items) == len(old) and all(item is before for item, before in zip(items, old, strict=True))
            return old if same else tuple(items)
        old[:] = items
    elif isinstance(old, dict):
        items = {key: merged(old[key], value) if key in old else value for key, value in new.items()}
        old.clear()
        old.update(items)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray):
        old[:] = new
    else:
        return new
    return old


def prepare(prompt: str, test: str, entry_point: str) -> Callable[[Channel], dict[str, str]]:
    """Return a function that judges one program: it takes the channel and returns outcome and detail.

    It executes prompt and test again for each program, so that none meets names that the test changed for another. The outcome
    `gone` says that the program's process ended before it had answered.
    """
    prompt_code = _compiled(prompt)
    try:
        test_code = compile(test, FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        detail = f"the test is no Python: {describe(error, FILE, 'test line')}"
        return lambda _: {"outcome": "error", "detail": detail}

    def judge(channel: Channel) -> dict[str, str]:
        names: dict[str, Any] = {"__name__": "test"}
        asked = Asked(channel, names)
        chance.begin(prompt, test)
        try:
            if prompt_code is not None:
                exec(prompt_code, names)  # noqa: S102 - the prompt is the problem's
            asked.ready()
            names[entry_point] = function_named(entry_point, asked.call)
            exec(test_code, names)  # noqa: S102 - the purpose
            names["check"](names[entry_point])
            outcome = ("passed", "")
        except MemoryError as error:
            outcome = ("out_of_memory", _where(error, asked, test))
        except AssertionError as error:
            ours = asked.raised is None or asked.raised[0] is not error
            outcome = ("failed" if ours else "error", _where(error, asked, test))
        except BaseException as error:  # noqa: BLE001 - whatever comes out of a test is its result
            outcome = ("error", _where(error, asked, test))
        # A test that swallowed the end of the program has not passed.
        outcome = asked.broken or outcome
        return {"outcome": outcome[0], "detail": outcome[1]}

    return judge


def _compiled(prompt: str) -> Any:
    """Return the code of the prompt, for its imports and helpers; a function without a body gets one."""
    for ending in ("", "\n    pass\n"):
        try:
            return compile(prompt + ending, PROMPT, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
    # It ends inside a statement, so it cannot be used alone; a test that needs it fails with the reference solution too.
    return None


def function_named(name: str, call: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        return call(args, kwargs)

    function.__name__ = function.__qualname__ = name
    return function


def _where(error: BaseException, asked: Asked, test: str) -> str:
    if asked.raised is not None and asked.raised[0] is error:
        return asked.raised[1]
    line = line_of(error.__traceback__, FILE)
    source = test.splitlines()[line - 1].strip() if line else ""
    if isinstance(error, AssertionError):
        return printable(f"test line {line}: {source}")
    return printable(f"{describe(error, FILE, 'test line')}{f' ({source})' if source else ''}")
