"""The tools of other languages in a pool of sandboxes: what its sandboxes show, and the orders that its workers send."""

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.sandbox.bubblewrap import Limits
from codeparrot.eval.sandbox.toolchains import language
from codeparrot.eval.sandbox.toolchains.toolchain import HEADERS, Bounds, Parts, Toolchain

PROGRAM, TEST, TOGETHER = "built", "built test", "built together"
"""Tasks of inside/zygote.py."""
TEST_SCALE = 10.0
"""A test is trusted with more time than a program: it is built once, on whatever machine."""


class Tools:
    """Use as a context manager.

    Args:
        limits: of the programs.
        languages: names in codeparrot.languages.
        unsafe: whether there is no sandbox, and so no other place for what was prepared.

    Raises:
        CodeparrotError: a tool is missing.
    """

    def __init__(self, limits: Limits, languages: Iterable[str], unsafe: bool = False) -> None:
        self._limits, self._unsafe = limits, unsafe
        self.found: dict[str, Toolchain] = {name: language(name).find() for name in languages}
        # A compiler and a runtime have more processes, files and address space than a program needs.
        self.widened = replace(
            limits,
            memory_bytes=1 << 37,
            processes=max(64, limits.processes),
            file_bytes=max(1 << 26, limits.file_bytes),
            scratch_bytes=max(1 << 28, limits.scratch_bytes),
            open_files=max(256, limits.open_files),
        )

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="codeparrot-tools-"))
        self._folder.chmod(0o755)
        try:
            for tools in self.found.values():
                if tools.language.prepare is not None:
                    tools.language.prepare(tools, self._folder)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def binds(self) -> list[tuple[str, str]]:
        """Return what a sandbox shows, each path with its place."""
        shown = [bind for tools in self.found.values() for bind in tools.binds]
        return [*dict.fromkeys(shown), (str(self._folder), HEADERS)]

    def orders(self, problem: Translated, completion: str, weak: bool, scale: float) -> tuple[Any, str, Any]:
        """Return the session of the test, the task of the program, and its order.

        Args:
            problem: in one of the languages.
            completion: of its prompt.
            weak: whether program and test are one process.
            scale: seconds of CPU time here for one second on the reference machine.
        """
        tools = self.found[problem.language]
        way = tools.language
        if weak or problem.together or way.program is None or way.test is None:
            return ("observe",), TOGETHER, self._order(tools, way.together(tools, problem, completion), scale)
        test = self._order(tools, way.test(tools, problem), TEST_SCALE)
        return (TEST, *test), PROGRAM, self._order(tools, way.program(tools, problem, completion), scale)

    def _order(self, tools: Toolchain, parts: Parts, scale: float) -> tuple[Any, ...]:
        limits = self._limits
        bounds = Bounds(
            limits.build_cpu_seconds * scale,
            limits.cpu_seconds * scale,
            limits.build_memory_bytes,
            limits.memory_bytes,
            max(tools.language.address_bytes, limits.memory_bytes),
            limits.file_bytes,
            limits.processes + tools.language.threads + 1,
        )
        order = tuple(parts.steps(bounds))
        # Without a sandbox, what was prepared has no other place.
        return tuple(map(self._moved, order)) if self._unsafe else order

    def _moved(self, item: Any) -> Any:
        if not isinstance(item, tuple) or isinstance(item, Bounds):
            return item
        return tuple(word.replace(HEADERS, str(self._folder), 1) if isinstance(word, str) else word for word in item)
