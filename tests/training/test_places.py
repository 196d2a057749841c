"""The first seconds of a run: a line at once, and what is missing here is said before a library is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import write_config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--tokenizer.path", "tokk"],
            'tokenizer.path: there is no folder "tokk"; did you mean "tok"? On the Hub it is hub:tokk',
        ),
        (["--tokenizer.path", "corpus"], "tokenizer.path: corpus holds no tokenizer.json"),
        (["--stream.train", "corpux"], "stream.train: corpux does not exist"),
        (["--stream.valid", "corpux/valid-0.jsonl"], "stream.valid: corpux/valid-0.jsonl does not exist"),
        (["--stream.valid", "corpus/train-0.jsonl", "--stream.lanes", "3"], "is not a multiple of stream.lanes 3"),
    ],
)
def test_what_is_missing_is_said_before_a_library_is_loaded(arguments, message, tmp_path: Path) -> None:
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train-0.jsonl").write_text('{"content": "x"}\n', encoding="utf-8")
    (tmp_path / "corpus" / "valid-0.jsonl").write_text('{"content": "y"}\n', encoding="utf-8")
    config = write_config(tmp_path / "tiny.yaml", Path("corpus"), Path("tok"))
    code = (
        "import sys; from codeparrot import cli\n"
        f"print(cli.main(['train', '--config', {str(config)!r}, *{arguments!r}]), *sys.modules.keys() & {{'torch'}})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    *before, error = done.stderr.splitlines()
    assert message in error
    assert before in ([], [f"{tmp_path / 'runs' / 'tiny'}: checking the settings and loading PyTorch"])
    assert not (tmp_path / "runs").exists()
