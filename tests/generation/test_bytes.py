"""Prompts are read, and completions written, whatever the locale says: no character is guessed and none is lost."""

import io
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.generation import complete as complete_module
from codeparrot.generation.complete import complete

TEXT = "return 'café 𝒳 €'"


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that completes every prompt with TEXT."""

    def draw(*arguments: Any) -> list[Any]:
        if show := arguments[-1]:
            show(TEXT)
        return [SimpleNamespace(text=TEXT, ended="end", healed=False)]

    monkeypatch.setattr(complete_module, "find_model", lambda name: name)
    monkeypatch.setattr(complete_module, "load_model", lambda *_: (SimpleNamespace(generation_config=None), None))
    monkeypatch.setattr(complete_module, "draw", draw)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_prompt_is_the_same_in_every_encoding_that_says_which_it_is(tmp_path, monkeypatch, encoding) -> None:
    (tmp_path / "prompt.py").write_bytes("# é漢\r\n".encode(encoding))
    assert complete("run", file=str(tmp_path / "prompt.py")).data["prompt"] == "# é漢\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("# é漢\r\n".encode(encoding)), encoding="latin-1"))
    assert complete("run").data["prompt"] == "# é漢\n"
    assert complete("run", prompt="\ufeff# é漢\n").data["prompt"] == "# é漢\n"


def test_a_pipe_that_is_no_text_is_refused_with_the_byte(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="latin-1"))
    with pytest.raises(CodeparrotError, match="the prompt is not UTF-8: byte 3 is 0xe9, in line 1"):
        complete("run")


@pytest.mark.parametrize("suffix", ["# add", "null", "- x", "12:30", "true", "[1", "{a: 1}", ")\n", "-b * 2"])
def test_a_suffix_is_text_whatever_yaml_would_make_of_it(capsys, suffix) -> None:
    assert main(["complete", "--checkpoint", "run", "--prompt", "x", "--suffix", suffix, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suffix"] == suffix


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_character_gets_its_escape(monkeypatch, encoding, streaming) -> None:
    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, encoding=encoding)
    monkeypatch.setattr(terminal, "isatty", lambda: streaming)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["complete", "--checkpoint", "run", "--prompt", "def f():"]) == 0
    terminal.flush()
    expected = {"ascii": rb"return 'caf\xe9 \U0001d4b3 \u20ac'", "latin-1": b"return 'caf\xe9 \\U0001d4b3 \\u20ac'"}
    assert written.getvalue().rstrip(b"\n") == expected.get(encoding, TEXT.encode())
