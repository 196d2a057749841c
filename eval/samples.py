"""Samples on disk, in OpenAI's format: several processes append them as they come, and a later start continues them.

Guarantees
- A sample that was written is never generated again; one whose line was cut when its process was killed is.
- Each process appends to its own file, so that none tears another's line, even on a network file system. When all samples are
  there, `samples.jsonl` holds them in the order of the problems.
- `settings.json` holds the settings that made the samples. Other settings are refused, and the error names the difference. More
  samples, temperatures or problems are no difference, since each sample has its own random numbers. Nor is another path: the
  weights have a hash.

A line is {"task_id": ..., "completion": ..., "temperature": ..., "sample": ..., "ended": ...}; openai/human-eval reads it and
ignores the keys that it does not know.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from codeparrot import files
from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.conversation import behind
from codeparrot.eval.problems.formats import in_words
from codeparrot.eval.problems.problem import Question, Translated
from codeparrot.eval.sampling import Key
from codeparrot.run.metrics import keep_foreign, read_lines
from codeparrot.run.reports import prompt_style
from codeparrot.text_files import json_lines

SAMPLES, SETTINGS = "samples.jsonl", "settings.json"
NOT_COMPARED = {"checkpoint"}
"""Settings that are recorded for people: where the weights were, not what they are."""
_OF_THE_INPUT = {"weights", "problems", "chat_template"}
"""Settings that no option gives."""
_FORMAT = 'a sample is {"task_id": ..., "completion": ...}'
ROOM_BYTES = 1 << 20
"""What must fit on the disk before an evaluation starts."""


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
    """Return the samples of all processes, finished and interrupted ones. Damaged lines are passed over with a warning.

    Raises:
        CodeparrotError: an evaluation wrote none of a file's lines.
    """
    found: dict[Key, dict[str, Any]] = {}
    for path in _parts(folder):
        rows = read_lines(path, _is_sample)
        if not rows and b"\n" in path.read_bytes():
            raise CodeparrotError(
                f"{path} has lines that no evaluation wrote: name another --output, or score it with --samples_file"
            )
        found |= {Key(row["task_id"], row["temperature"], row["sample"]): row for row in rows}
    return found


def _parts(folder: Path) -> list[Path]:
    return [path for path in (folder / SAMPLES, *sorted(folder.glob("samples-*.jsonl"))) if path.is_file()]


def _is_sample(row: dict[str, Any]) -> bool:
    numbers = row.get("temperature"), row.get("sample")
    texts = row.get("task_id"), row.get("completion")
    return all(isinstance(text, str) for text in texts) and all(isinstance(number, int | float) for number in numbers)


def put_together(folder: Path, problems: Iterable[Question], samples: Mapping[Key, dict[str, Any]]) -> None:
    """Rewrite `samples.jsonl` in the order of the problems, and remove the parts."""
    order = {problem.task_id: number for number, problem in enumerate(problems)}

    def place(key: Key) -> tuple[Any, ...]:
        return order.get(key.task_id, len(order)), key

    for path in _parts(folder):
        keep_foreign(path, _is_sample)
    write_lines(folder / SAMPLES, [samples[key] for key in sorted(samples, key=place)])
    for path in folder.glob("samples-*.jsonl"):
        path.unlink()


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON-lines file whole or not at all."""
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def hold_settings(folder: Path, settings: Mapping[str, Any], former: Mapping[str, Any] | None = None) -> None:
    """Record the settings that make the samples in a folder, or check that they made the samples that are there.

    Args:
        folder: of the evaluation.
        settings: by name.
        former: what earlier versions recorded for some of them; None where they recorded nothing.

    Raises:
        CodeparrotError: they differ, or the folder cannot be written.
    """
    path = folder / SETTINGS
    if not path.is_file():
        if read_all(folder):
            raise CodeparrotError(f"{folder} has samples but no {SETTINGS} that says what made them: name another --output")
        files.write_json(path, settings, indent=1)
        return
    before = _read_settings(path)
    names = sorted((before.keys() | settings.keys()) - NOT_COMPARED)
    other = [name for name in names if before.get(name) != settings.get(name)]
    earlier = [name for name in other if former is not None and name in former and before.get(name) == former[name]]
    changed = [f"{name} {before.get(name)} (now {settings.get(name)})" for name in other if name not in earlier]
    if changed:
        again = "" if _OF_THE_INPUT & set(other) else ", or give the earlier settings to go on with these samples"
        raise CodeparrotError(f"the samples in {folder} were made with {', '.join(changed)}: name another --output{again}")
    if earlier:
        files.write_json(path, {**before, **settings}, indent=1)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = files.read_object(path)
    except (OSError, ValueError) as error:
        raise CodeparrotError(f"{path} cannot be read ({error}): name another --output") from None
    if "strip_prompt" in found:  # of an earlier version
        found["prompt_style"] = prompt_style(found)
        del found["strip_prompt"]
    return found


def check_room(folder: Path) -> None:
    """Check that a folder can be written, before anything is generated or judged for it.

    Raises:
        CodeparrotError: it cannot, or there is no room for the files of an evaluation.
    """
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CodeparrotError(
            f"the evaluation cannot be written to {folder} ({error.strerror}): make room, or name another --output"
        ) from error


def read_foreign(path: Path, problems: Iterable[Question]) -> list[dict[str, Any]]:
    """Return the samples of a file in OpenAI's format, whoever wrote it.

    Samples are numbered in the order in which they come, and have the temperature None where the file gives none. A `solution`
    instead of a completion is a whole program, as evalplus writes it.

    Raises:
        CodeparrotError: the file cannot be read, or has no samples, or a line is not a sample of one of the problems.
    """
    problems = tuple(problems)
    prompts = {problem.task_id: problem.prompt for problem in problems}
    others = {problem.task_id for problem in problems if isinstance(problem, Translated)}
    count: dict[tuple[str, float | None], int] = {}
    rows = []
    for where, row in json_lines(path):
        if not isinstance(row, dict):
            raise CodeparrotError(f"{where}: not a JSON object: {_FORMAT} (docs/evaluation.md shows how to get there)")
        task, completion, temperature = in_words(row.get("task_id")), row.get("completion"), row.get("temperature")
        if completion is None and isinstance(solution := row.get("solution"), str) and task in prompts:
            if task in others:
                raise CodeparrotError(f"{where}: {task} is not in Python: give the text behind its prompt, as a completion")
            completion = behind(prompts[task]) + solution
        if not isinstance(task, str) or not isinstance(completion, str):
            raise CodeparrotError(f"{where}: {_FORMAT}, both strings")
        if task not in prompts:
            words = f"{task} is not one of the problems ({next(iter(prompts))}, ...)"
            raise CodeparrotError(f"{where}: {words}: name the right ones with --problems")
        if temperature is not None and not isinstance(temperature, int | float):
            raise CodeparrotError(f"{where}: the temperature is {temperature!r}, not a number")
        number = count[task, temperature] = count.get((task, temperature), -1) + 1
        kept = {name: row[name] for name in ("ended", "prompt_cut", "healed") if name in row}
        rows.append({"task_id": task, "completion": completion, "temperature": temperature, "sample": number, **kept})
    if not rows:
        raise CodeparrotError(f"{path} has no samples: {_FORMAT}")
    return rows


def sampled(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the problems that have a sample at every temperature of a file."""
    tasks: dict[float | None, set[str]] = {}
    for row in rows:
        tasks.setdefault(row["temperature"], set()).add(row["task_id"])
    return set.intersection(*tasks.values()) if tasks else set()
