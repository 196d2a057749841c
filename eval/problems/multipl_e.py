"""Rows in MultiPL-E's format (Cassano et al., arXiv:2208.08227): problems of one language other than Python each.

    name            of the problem
    language        js, cpp, rs, java, go_test.go, or another name that codeparrot.languages knows
    prompt          the program up to the body of the function to complete
    tests           a text that stands behind the completion and makes it a whole program, which ends badly if it is wrong
    stop_tokens     texts that end a completion
    canonical_solution   ours, optional: a completion that passes

In C++, Rust and Java, `tests` begins with the brace that ends the function: completions end before it. The tested function is
the one that the tests call `candidate`; in Java, which has no such name, the last one of the prompt.
"""

import re
from collections.abc import Mapping
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Translated
from codeparrot.eval.sandbox.toolchains import language

KEYS = ("name", "language", "prompt", "tests")
_CANDIDATE = re.compile(r"\bcandidate\s*:?=\s*&?([A-Za-z_]\w*)\s*;?\s*$", re.MULTILINE)
_LAST_FUNCTION = re.compile(r"(\w+)\s*\([^()]*\)\s*\{\s*$")
_NOT_PLAIN = re.compile(r"std::(?:any|variant|function|string_view|stack|queue|priority_queue)\b|^\s*union\b", re.MULTILINE)
"""In a C++ prompt, types that do not cross between processes (harness/remote.hpp)."""
_CATCHES = re.compile(r"\bcatch\s*\(")
"""In a C++ test: an exception does not cross either."""


def is_row(row: Mapping[str, Any]) -> bool:
    """Return whether a row has this format and not OpenAI's, which has `test`."""
    return "tests" in row and "language" in row and "test" not in row


def from_row(row: Mapping[str, Any], where: str) -> Translated:
    """Return the problem of a row.

    Raises:
        CodeparrotError: a key is missing or of another type, the tests check nothing, or no such language can be judged.
    """
    for key in KEYS:
        if key not in row:
            raise CodeparrotError(f"{where}: the key {key!r} is missing")
    for key in (*KEYS, "canonical_solution"):
        if not isinstance(row.get(key) or "", str):
            raise CodeparrotError(f"{where}: {key!r} is not a string")
    stop = row.get("stop_tokens") or ()
    if not isinstance(stop, list | tuple) or not all(isinstance(text, str) and text for text in stop):
        raise CodeparrotError(f"{where}: 'stop_tokens' is not a list of strings")
    if "candidate" not in row["tests"] and "assert" not in row["tests"]:
        raise CodeparrotError(f"{where}: the tests check nothing")
    try:
        known = language(row["language"])
    except CodeparrotError as error:
        raise CodeparrotError(f"{where}: {error}") from None
    found = _CANDIDATE.search(row["tests"]) or _LAST_FUNCTION.search(row["prompt"])
    entry_point = found.group(1) if found else ""
    cpp_alone = known.name == "c++" and (_NOT_PLAIN.search(row["prompt"]) or _CATCHES.search(row["tests"]))
    crosses = known.program is not None and entry_point and not cpp_alone
    return Translated(
        task_id=row["name"],
        prompt=row["prompt"],
        entry_point=entry_point,
        test=row["tests"],
        canonical_solution=row.get("canonical_solution") or "",
        stop=tuple(stop),
        language=known.name,
        together=not crosses,
    )
