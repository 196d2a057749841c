"""Samples on disk, in OpenAI's format: several processes append them as they come, and a later start continues them.

Guarantees
- A sample that was written is never generated again; one whose line was cut when its process was killed is.
- Each process appends to its own file, so that none tears another's line, even on a network file system. When all samples are
  there, `samples.jsonl` holds them in the order of the problems.
- `settings.json` holds the settings that made the samples. Other settings are refused, and the error names the difference. More
  samples, temperatures or problems are no difference, since each sample has its own random numbers.

A line is {"task_id": ..., "completion": ..., "temperature": ..., "sample": ..., "ended": ...}; openai/human-eval reads it and
ignores the keys that it does not know.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Question
from codeparrot.eval.sampling import Key
from codeparrot.text_files import json_lines

SAMPLES, SETTINGS = "samples.jsonl", "settings.json"


class Appender:
    """Appends lines to a file, each whole or not at all. First cuts off the partial line that a killed process left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            files.cut_unfinished_line(path)

    def append(self, line: Mapping[str, Any]) -> None:
        files.append(self._path, json.dumps(line).encode() + b"\n")


def part(folder: Path, name: str) -> Path:
    """Return the file that one of several processes appends to."""
    return folder / f"samples-{name}.jsonl"


def read_all(folder: Path) -> dict[Key, dict[str, Any]]:
    """Return the samples of all processes, finished and interrupted ones.

    Raises:
        CodeparrotError: a file has lines that no evaluation wrote.
    """
    found: dict[Key, dict[str, Any]] = {}
    for path in [folder / SAMPLES, *sorted(folder.glob("samples-*.jsonl"))]:
        if path.is_file():
            try:
                for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                    if line.endswith("\n"):
                        row = json.loads(line)
                        found[Key(row["task_id"], row["temperature"], row["sample"])] = row
            except (KeyError, TypeError, ValueError):
                raise CodeparrotError(
                    f"{path} has lines that no evaluation wrote: name another --output, or score it with --samples_file"
                ) from None
    return found


def put_together(folder: Path, problems: Iterable[Question], samples: Mapping[Key, dict[str, Any]]) -> None:
    """Rewrite `samples.jsonl` in the order of the problems, and remove the parts."""
    order = {problem.task_id: number for number, problem in enumerate(problems)}

    def place(key: Key) -> tuple[Any, ...]:
        return order.get(key.task_id, len(order)), key

    write_lines(folder / SAMPLES, [samples[key] for key in sorted(samples, key=place)])
    for path in folder.glob("samples-*.jsonl"):
        path.unlink()


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON-lines file whole or not at all."""
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def hold_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Record the settings that make the samples in a folder, or check that they made the samples that are there.

    Raises:
        CodeparrotError: they differ.
    """
    path = folder / SETTINGS
    if not path.is_file():
        if read_all(folder):
            raise CodeparrotError(f"{folder} has samples but no {SETTINGS} that says what made them: name another --output")
        files.write_json(path, settings, indent=1)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    names = sorted(before.keys() | settings.keys())
    changed = [
        f"{name} {before.get(name)} (now {settings.get(name)})" for name in names if before.get(name) != settings.get(name)
    ]
    if changed:
        raise CodeparrotError(f"the samples in {folder} were made with {', '.join(changed)}: name another --output")


def read_foreign(path: Path, problems: Iterable[Question]) -> list[dict[str, Any]]:
    """Return the samples of a file in OpenAI's format, whoever wrote it.

    Samples are numbered in the order in which they come, and have the temperature None where the file gives none.

    Raises:
        CodeparrotError: the file cannot be read, or a line is not a sample of one of the problems.
    """
    known = {problem.task_id for problem in problems}
    count: dict[tuple[str, float | None], int] = {}
    rows = []
    for where, row in json_lines(path):
        if not isinstance(row, dict):
            raise CodeparrotError(f"{where}: not a JSON object")
        task, completion, temperature = row.get("task_id"), row.get("completion"), row.get("temperature")
        if not isinstance(task, str) or not isinstance(completion, str):
            raise CodeparrotError(f'{where}: a sample is {{"task_id": ..., "completion": ...}}, both strings')
        if task not in known:
            raise CodeparrotError(f"{where}: {task} is not one of the problems: name the right ones with --problems")
        if temperature is not None and not isinstance(temperature, int | float):
            raise CodeparrotError(f"{where}: the temperature is {temperature!r}, not a number")
        number = count[task, temperature] = count.get((task, temperature), -1) + 1
        kept = {"ended": row["ended"]} if "ended" in row else {}
        rows.append({"task_id": task, "completion": completion, "temperature": temperature, "sample": number, **kept})
    missing = sorted(known - {row["task_id"] for row in rows})
    if missing:
        more = f" and {len(missing) - 1} more problems" if len(missing) > 1 else ""
        raise CodeparrotError(f"{path} has no sample of {missing[0]}{more}: a score needs all of them")
    return rows
