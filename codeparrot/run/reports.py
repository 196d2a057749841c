"""The reports that evaluations leave in a run directory: `eval/NAME/step_00001000/report.json`.

One that is damaged, or was put there by somebody else, is passed over with a warning: it ends neither a run nor a push.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.run.metrics import SOLUTIONS
from codeparrot.setting import LARGEST

logger = logging.getLogger("codeparrot")

_STEP = re.compile(r"step_(\d+)")


def reports_of(run: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the step that was measured, and the report, in the order of their paths."""
    for path in sorted(run.glob("eval/*/step_*/report.json")):
        step = _STEP.fullmatch(path.parent.name)
        try:
            found = files.read_object(path)
        except (OSError, ValueError):
            found = {}
        if step and _is_report(found):
            yield int(step[1]), found
        else:
            logger.warning("%s is passed over: it is damaged, or no evaluation wrote it; evaluate that checkpoint again", path)


def prompt_style(settings: Mapping[str, Any]) -> str:
    """Return how an evaluation gave its prompts: a style of `codeparrot eval humaneval`, or `chat`; empty: nothing says so.

    Earlier versions only knew `strip_prompt`, true or false.
    """
    if settings.get("chat"):
        return "chat"
    if "prompt_style" not in settings and "strip_prompt" in settings:
        return "stripped" if settings["strip_prompt"] else "exact"
    return str(settings.get("prompt_style") or "")


def asked(settings: Mapping[str, Any]) -> str:
    """Return how a model was asked: the order of infilling, else the style of the prompts."""
    return str(settings.get("fim_order") or prompt_style(settings))


def in_words(asked: str) -> str:
    return asked if asked in ("chat", "psm", "spm", "prefix") else f"{asked} prompts"


def _is_report(found: dict[str, Any]) -> bool:
    """Whether everything is there that cards and pictures show, and of its type."""
    of, best = found.get("problem_set"), found.get("best")
    return (
        all(_is_number(found.get(name)) for name in ("problems", "samples"))
        and isinstance(of, dict)
        and isinstance(of.get("name"), str)
        and _is_number(of.get("problems", 0))
        and isinstance(found.get("settings", {}), dict)
        and isinstance(best, dict)
        and all(_is_number(found.get(name)) and _is_interval(each) for name, each in best.items())
        and (found.get("tokens") is None or _is_number(found["tokens"]))
        and _is_number(found.get(SOLUTIONS, 0))
    )


def _is_interval(found: Any) -> bool:
    return isinstance(found, dict) and "temperature" in found and all(map(_is_number, map(found.get, ("mean", "low", "high"))))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= LARGEST  # neither infinite nor NaN
