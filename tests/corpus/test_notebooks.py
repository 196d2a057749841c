"""Notebooks become scripts that parse, or text, code and output in turns; what is no notebook is counted with a reason."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from codeparrot.corpus.filters.syntax import is_python
from codeparrot.corpus.notebooks import COMMENT_SIGNS, NOTEBOOK, STRUCTURED, Converted, NotebookSettings, convert
from codeparrot.errors import CodeparrotError
from codeparrot.languages.names import LANGUAGES
from tests.corpus.samples import LENIENT, digests, make, read

SCRIPTS, PAIRS, KEEP, REMOVE = (NotebookSettings(mode) for mode in ("scripts", "pairs", "keep", "remove"))
PYTHON = {
    "kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"},
    "language_info": {"name": "python"},
}


def code(source: Any, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "execution_count": 1, "metadata": {}}


def text(source: Any, kind: str = "markdown") -> dict[str, Any]:
    return {"cell_type": kind, "source": source, "metadata": {}}


def result(value: Any) -> dict[str, Any]:
    return {"output_type": "execute_result", "data": {"text/plain": value, "image/png": "aGVsbG8="}}


def notebook(*cells: dict[str, Any], metadata: dict[str, Any] = PYTHON, version: int = 4) -> str:
    return json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": version, "nbformat_minor": 4})


def old(*cells: dict[str, Any], version: int = 3) -> str:
    changed = [
        {("input" if key == "source" and each["cell_type"] == "code" else key): value for key, value in each.items()}
        for each in cells
    ]
    languages = [{**each, "language": "python"} if each["cell_type"] == "code" else each for each in changed]
    return json.dumps({"worksheets": [{"cells": languages[:1]}, {"cells": languages[1:]}], "metadata": {}, "nbformat": version})


def became(content: str, settings: NotebookSettings) -> str:
    converted = convert(content, settings)
    assert isinstance(converted, Converted)
    return converted.content


CELLS = (
    text(["# Title\n", "\n", "Some *text*"]),
    code(["import math\n", "x = math.pi"], result("3.14")),
    text("raw", "raw"),
    code("print(x)", {"output_type": "stream", "name": "stdout", "text": ["3.1415\n", "more"]}),
)
SCRIPT = """\
# %% [markdown]
# # Title
#
# Some *text*

# %%
import math
x = math.pi

# %% [raw]
# raw

# %%
print(x)
"""


@pytest.mark.parametrize("content", [notebook(*CELLS), old(*CELLS), old(*CELLS, version=2)])
def test_a_notebook_of_any_format_becomes_a_script_with_cells(content: str) -> None:
    assert convert(content, SCRIPTS) == Converted(SCRIPT, "python")
    assert is_python(SCRIPT)


def test_headings_of_format_3_are_text() -> None:
    heading = {"cell_type": "heading", "level": 2, "source": "Part"}
    assert "# ## Part\n" in became(old(heading, code("x = 1")), SCRIPTS)


COMMANDS = [
    ("!ls -l 'it is", "# !ls -l 'it is"),
    ("%matplotlib inline\nx = 1", "# %matplotlib inline\nx = 1"),
    ("if x:\n    !rm y\n    %time f()", "if x:\n    pass  # !rm y\n    pass  # %time f()"),
    ("files = !ls\nfiles", "# files = !ls\nfiles"),
    ("a, b = %time f()", "# a, b = %time f()"),
    ("?print\nprint?\nnp.sum??", "# ?print\n# print?\n# np.sum??"),
    ("!pip install \\\n    one \\\n    two\nx = 1", "# !pip install \\\n    # one \\\n    # two\nx = 1"),
    ("%%time\ny = f()", "# %%time\ny = f()"),
    ("%%bash\nfor x in *; do echo $x; done", "# %%bash\n# for x in *; do echo $x; done"),
    ('!ls\ns = """\n%d\n!x\n"""\n!ls', '# !ls\ns = """\n%d\n!x\n"""\n# !ls'),
    ("!ls\n# it's\n%cd x", "# !ls\n# it's\n# %cd x"),
    ("x = (5\n  % 3)", "x = (5\n  % 3)"),
    ("!a\r\nx = 1\r\n", "# !a\nx = 1"),
]


@pytest.mark.parametrize(("source", "expected"), COMMANDS)
def test_what_only_ipython_reads_becomes_comments(source: str, expected: str) -> None:
    script = became(notebook(code(source)), SCRIPTS)
    assert script == f"# %%\n{expected}\n" and is_python(script)


def test_all_commands_together_are_one_program() -> None:
    assert is_python(became(notebook(*(code(source) for source, _ in COMMANDS)), SCRIPTS))


def test_text_ends_no_comment_whatever_ends_its_lines() -> None:
    script = became(notebook(text("a\rb\u2028c\x0bd\x85e"), code("x = 1")), SCRIPTS)
    assert script == "# %% [markdown]\n# a\n# b\n# c\n# d\n# e\n\n# %%\nx = 1\n"


@pytest.mark.parametrize(
    ("metadata", "language", "sign"),
    [
        ({"language_info": {"name": "R"}}, "r", "#"),
        ({"kernelspec": {"name": "julia-1.9", "display_name": "Julia"}}, "julia", "#"),
        ({"kernelspec": {"name": "ir"}}, "r", "#"),
        ({"kernelspec": {"name": "xcpp17", "language": "C++17"}}, "c++", "//"),
        ({"kernelspec": {"name": "javascript", "language": "javascript"}}, "javascript", "//"),
        ({"language_info": {"name": "scala"}}, "scala", "//"),
        ({"language_info": {"name": "ipython"}}, "python", "#"),
        ({"kernelspec": {"name": "python3"}}, "python", "#"),
        ({"language_info": {"name": "haskell"}}, "haskell", "--"),
        ({"language_info": {"name": "octave"}}, "matlab", "%"),
    ],
)
def test_the_script_is_in_the_language_of_the_kernel(metadata: dict[str, Any], language: str, sign: str) -> None:
    content = notebook(text("why"), code("x"), code("%%html\n<b>"), metadata=metadata)
    assert convert(content, SCRIPTS) == Converted(
        f"{sign} %% [markdown]\n{sign} why\n\n{sign} %%\nx\n\n{sign} %%\n{sign} %%html\n{sign} <b>\n", language
    )


def test_a_julia_cell_for_the_shell_is_a_comment_and_a_pipe_of_r_is_not() -> None:
    julia = notebook(code("]add Plots"), code("x = 1"), metadata={"language_info": {"name": "julia"}})
    assert became(julia, SCRIPTS) == "# %%\n# ]add Plots\n\n# %%\nx = 1\n"
    r = notebook(code("x\n%>% f()"), metadata={"language_info": {"name": "R"}})
    assert became(r, SCRIPTS) == "# %%\nx\n%>% f()\n"


def test_pairs_are_text_code_and_the_output_of_the_last_cell() -> None:
    content = notebook(
        code("import left_out"),
        text("# One"),
        text("more"),
        code("a = 1", result("1")),
        code("a", result(["2\n", "3"]), {"output_type": "display_data", "data": {"image/png": "aGVsbG8="}}),
        text("left out", "raw"),
        text("Two"),
        code("1 / 0", {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "division", "traceback": ["..."]}),
        text("Three"),
        code("b = 2"),
        text("left out"),
    )
    assert convert(content, PAIRS) == Converted(
        """\
<jupyter_start>
<jupyter_text>
# One

more
<jupyter_code>
a = 1
a
<jupyter_output>
2
3
<jupyter_text>
Two
<jupyter_code>
1 / 0
<jupyter_output>
ZeroDivisionError: division
<jupyter_text>
Three
<jupyter_code>
b = 2
<jupyter_output>
<empty_output>
""",
        STRUCTURED,
    )
    assert STRUCTURED not in LANGUAGES


def test_outputs_of_format_3_are_read_and_long_ones_cut() -> None:
    outputs = ({"output_type": "stream", "text": ["ab\n"]}, {"output_type": "pyout", "text": "cd"})
    content = old(text("one"), code("x", *outputs))
    assert "<jupyter_output>\nab\ncd\n" in became(content, PAIRS)
    assert "<jupyter_output>\nab\n\n"[:-1] in became(content, NotebookSettings("pairs", max_output=3))
    assert "cd" not in became(content, NotebookSettings("pairs", max_output=3))


LEVELS = ('"x"', "NaN", "Infinity", '"' + "9" * 5000 + '"')
DAMAGED = [
    *(
        "",
        "{",
        "[]",
        "null",
        "12",
        '"x"',
        "{}",
        '{"nbformat": 4}',
        '{"nbformat": 4, "cells": {}}',
        '{"nbformat": 5, "cells": []}',
    ),
    *('{"nbformat": 4, "cells": [1]}', '{"nbformat": 4, "cells": [null]}', '{"nbformat": 3, "worksheets": [1]}'),
    '{"nbformat": 3, "worksheets": [{"cells": 1}]}',
    notebook(code(1)),
    notebook(code([1, 2])),
    notebook(code("x", "not an object")),  # type: ignore[arg-type]
    notebook(code("x", {"output_type": "stream", "text": 5})),
    notebook(text(None)),
    notebook(code("'\\ud800'")).replace("\\\\ud800", "\\ud800"),
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"nbformat": 4, "cells": [' + "[" * 50_000 + "]" * 50_000 + "]}",
    '{"nbformat": 4, "cells": ' + "9" * 10_000 + "}",
    *(
        f'{{"nbformat": 3, "worksheets": [{{"cells": [{{"cell_type": "heading", "level": {level}, "source": "x"}}]}}]}}'
        for level in LEVELS
    ),
]


@pytest.mark.parametrize("number", range(len(DAMAGED)))
@pytest.mark.parametrize("settings", [SCRIPTS, PAIRS])
def test_what_is_no_notebook_is_removed_with_a_reason(number: int, settings: NotebookSettings) -> None:
    assert convert(DAMAGED[number], settings) == "notebook_damaged"
    assert convert(DAMAGED[number], KEEP) == Converted(DAMAGED[number], NOTEBOOK)
    assert convert(DAMAGED[number], REMOVE) == "notebook"


def test_notebooks_without_code_or_language_are_removed_with_a_reason() -> None:
    assert convert(notebook(text("only")), SCRIPTS) == "notebook_empty"
    assert convert(notebook(code(" \n")), SCRIPTS) == "notebook_empty"
    assert convert(notebook(code("x"), text("y")), PAIRS) == "notebook_empty"
    assert convert(notebook(), PAIRS) == "notebook_empty"
    assert convert(notebook(code("x"), metadata={}), SCRIPTS) == "notebook_language"
    assert convert(notebook(code("x"), metadata={"language_info": {"name": "whitespace"}}), SCRIPTS) == "notebook_language"
    assert convert(notebook(code("x" * 100)), NotebookSettings("scripts", max_size=100)) == "notebook_damaged"


def test_signs_are_of_languages_that_have_a_name() -> None:
    others = {"f#", "gnuplot", "sage", "prolog", "scheme", "common-lisp"}
    assert set(COMMENT_SIGNS) - others <= set(LANGUAGES)


@pytest.mark.parametrize("settings", [NotebookSettings("script"), NotebookSettings(max_size=0), NotebookSettings(max_output=0)])  # type: ignore[arg-type]
def test_impossible_settings_are_refused(settings: NotebookSettings) -> None:
    with pytest.raises(CodeparrotError, match=r"notebooks\.(mode|max_size|max_output)"):
        settings.check()


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    for number in range(6):
        folder = root / f"repo{number}"
        folder.mkdir()
        cells = (
            text(f"Part {number}"),
            code(f"def f{number}():\n    return {number}", result("x" * 10 + "1" * (700_000 * number))),
        )
        (folder / "lesson.ipynb").write_text(notebook(*cells))
    (root / "repo0" / "damaged.ipynb").write_text("{")
    (root / "repo0" / "a.py").write_text("def g():\n    return 0\n")
    (root / "repo0" / "large.py").write_text("x = 1\n" * 200_000)
    return root


@pytest.mark.slow
def test_a_build_turns_notebooks_into_scripts_and_counts_what_is_damaged(raw: Path, tmp_path: Path) -> None:
    options = {"suffixes": (".py", ".ipynb"), "filters": LENIENT, "valid_fraction": 0}
    statistics = make(raw, tmp_path / "out", notebooks=SCRIPTS, **options)
    documents = {each["repo_name"]: each for each in read(tmp_path / "out") if each["path"] == "lesson.ipynb"}
    # The largest has 3.5 MB of output, and is a small script.
    assert len(documents) == 6 and statistics["documents"] == 7
    for number in range(6):
        content = f"# %% [markdown]\n# Part {number}\n\n# %%\ndef f{number}():\n    return {number}\n"
        found = documents[f"repo{number}"]
        assert (found["content"], found["size"], found["language"]) == (content, len(content), "python")
    removed = {name: each["files"] for name, each in statistics["removed"].items() if each["files"]}
    assert removed == {"size": 1, "notebook_damaged": 1}
    assert statistics["settings"]["notebooks"] == {"mode": "scripts", "max_size": 16_000_000, "max_output": 2000}
    assert "| notebook_damaged | 1 |" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "documents", "removed"),
    [
        ("keep", 1, {"size": 5, "longest_line": 1, "mean_line": 1, "alphanumeric": 1}),
        ("remove", 1, {"size": 5, "notebook": 3}),
        ("pairs", 2, {"size": 1, "notebook_damaged": 1, "longest_line": 5}),
    ],
)
def test_notebooks_may_stay_or_go_or_become_pairs(
    raw: Path, tmp_path: Path, mode: Any, documents: int, removed: dict[str, int]
) -> None:
    options = {"suffixes": (".py", ".ipynb"), "filters": LENIENT, "valid_fraction": 0}
    statistics = make(raw, tmp_path / "out", notebooks=NotebookSettings(mode), **options)
    assert {name: each["files"] for name, each in statistics["removed"].items() if each["files"]} == removed
    assert statistics["documents"] == documents


@pytest.mark.slow
def test_notebooks_in_two_processes_give_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    options = {"suffixes": (".py", ".ipynb"), "filters": LENIENT, "notebooks": SCRIPTS}
    for workers in (1, 2):
        make(raw, tmp_path / str(workers) / "out", workers=workers, **options)
    assert digests(tmp_path / "1" / "out") == digests(tmp_path / "2" / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["!", "%", "x = ", "'", '"', "'''", '"""', "\\", "(", "?", "a.", "#", "\n", "!\\\n", "x\n", " ", "[", "a?\n"]
)
def test_hostile_cells_take_time_in_proportion_to_their_length(piece: str) -> None:
    def seconds(size: int) -> float:
        contents = [notebook(text(line), code("!x\n" + line)) for line in (piece * (size // len(piece)),)]
        start = time.process_time()
        for content in contents:
            convert(content, SCRIPTS)
            convert(content, PAIRS)
        return time.process_time() - start

    least = min(seconds(40_000) for _ in range(3))
    assert min(seconds(400_000) for _ in range(3)) < 30 * max(least, 0.003)
