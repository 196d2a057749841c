"""Every command in docs/corpus.md is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest

from codeparrot.cli import prepare
from codeparrot.corpus.sources.presets import PRESETS
from codeparrot.corpus.statistics import CLUSTERS_FILE, SAMPLES_FILE

TEXT = (Path(__file__).parents[2] / "docs" / "corpus.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_the_documentation_is_taken(command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "codeparrot"
    prepare(arguments)  # which ends the process where a flag is wrong


def test_the_documentation_names_what_there_is() -> None:
    assert f"`{SAMPLES_FILE}`" in TEXT and f"`{CLUSTERS_FILE}`" in TEXT
    assert len(PRESETS) == 4
