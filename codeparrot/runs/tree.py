"""`codeparrot tree`: a family of runs, each at the checkpoint of its parent at which it began.

    a                    3.21M tokens, loss 3.105, 1.621 bits/byte
    |-- a-cool-400       from step 400: 910k tokens, loss 3.310, 1.702 bits/byte, pass@1 1.2%
    `-- a-cool-1000      from step 1,000: ...

The picture has their curves over tokens, each on its parent's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from codeparrot import figures
from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.markdown_tables import clean
from codeparrot.result import Result
from codeparrot.run.curves import Run, read
from codeparrot.runs import panels
from codeparrot.runs.branches import branches
from codeparrot.runs.reading import BROKEN, FOREIGN, Facts, as_data, is_run, read_runs, short

NAME = 40


def tree(folder: str, output: str | None = None) -> Result:
    """Draw runs and those that began at their checkpoints: loss, bits a byte and pass@1 of each, and a picture over tokens.

    Args:
        folder: Folder of runs (run.dir), by default runs; or one run, whose family is drawn.
        output: Picture to write (.png, .svg or .pdf); by default tree.png in that folder.
    """
    chosen = path_of(output) if output else None
    one = path_of(folder) if is_run(path_of(folder)) else None
    home = str(one.resolve().parent) if one else folder
    found = {run.name: run for run in read_runs(home) if run.state not in (BROKEN, FOREIGN)}
    parents = {name: _parent(run, found) for name, run in found.items()}
    shown = [name for name in found if one is None or _root(name, parents) == _root(one.resolve().name, parents)]
    if not shown:
        raise CodeparrotError(f"{folder} holds no run")
    order = list(_walk("", "", "", {name: parents[name] for name in shown}, found))
    width = max(len(head) for head, _ in order)
    lines = [f"{head:<{width}}  {_words(found[name])}".rstrip() for head, name in order]
    picture = chosen or path_of(home) / "tree.png"
    drawn = _draw([found[name] for _, name in order], parents, picture)
    facts = [as_data(found[name]) | {"parent_here": parents[name]} for _, name in order]
    data = {"folder": home, "output": str(picture) if drawn else None, "runs": facts}
    return Result("\n".join([*lines, *([str(picture)] if drawn else [])]), data)


def _parent(run: Facts, found: dict[str, Facts]) -> str | None:
    """Return the name of the parent, if it is one of the runs. A circle, which no training writes, is no family."""
    seen, at = {run.name}, run
    while at.parent and at.parent["name"] in found:
        at = found[at.parent["name"]]
        if at.name in seen:
            return None
        seen.add(at.name)
    return run.parent["name"] if run.parent and run.parent["name"] in found else None


def _root(name: str, parents: dict[str, str | None]) -> str:
    while (above := parents.get(name)) is not None:
        name = above
    return name


def _walk(
    name: str, lead: str, branch: str, parents: dict[str, str | None], found: dict[str, Facts]
) -> Iterator[tuple[str, str]]:
    """Yield the beginning of each line and the run that it is about: a run, then those that began at it, the earliest first."""
    if name:
        yield f"{lead}{branch}{short(clean(name), NAME)}", name
        lead += {"": "", "|-- ": "|   ", "`-- ": "    "}[branch]
    below = sorted((each for each, above in parents.items() if (above or "") == name), key=lambda each: _begin(found[each]))
    for each in below:
        mark = "" if not name else "`-- " if each == below[-1] else "|-- "
        yield from _walk(each, lead, mark, parents, found)


def _begin(run: Facts) -> tuple[int, str]:
    return (run.parent["step"] if run.parent else 0), run.name


def _words(run: Facts) -> str:
    begun = f"from {'' if run.parent is None else _at(run.parent)}: " if run.parent else ""
    words = [f"{figures.count_in_words(run.tokens or 0)} tokens", *_measures(run)]
    return f"{begun}{', '.join(words)}{'' if run.state == 'finished' else f' ({run.state})'}"


def _at(parent: dict[str, Any]) -> str:
    return f"step {parent['step']:,}"


def _measures(run: Facts) -> list[str]:
    words = [f"loss {run.loss:.3f}"] if run.loss is not None else []
    words += [f"{run.bits_per_byte:.3f} bits/byte"] if run.bits_per_byte is not None else []
    return words + ([f"pass@1 {run.pass_at_1:.1%}"] if run.pass_at_1 is not None else [])


def _draw(runs: Sequence[Facts], parents: dict[str, str | None], picture: Path) -> bool:
    """Draw the curves of the runs that have one; return whether any has.

    Raises:
        CodeparrotError: the picture cannot be written.
    """
    drawn: list[tuple[Run, Facts]] = []
    for run in runs:
        try:
            drawn.append((read(Path(run.path)), run))
        except CodeparrotError:
            continue  # it has logged no loss yet; its line says so
    if not drawn:
        return False
    curves, kept = [run for run, _ in drawn], [facts for _, facts in drawn]
    leaves = {facts.name for facts in kept} - {above for above in parents.values() if above}
    notes = [f": {', '.join(words)}" if (words := _measures(facts)) and facts.name in leaves else "" for facts in kept]
    try:
        panels.draw(curves, picture, branches(curves, [Path(facts.path) for facts in kept]), notes=notes)
    except OSError as error:
        raise CodeparrotError(f'--output "{picture}" cannot be written ({error.strerror}): name another') from error
    return True
