"""Garbage is collected rarely while a run starts, and as usual while it trains."""

import gc
import subprocess
import sys

import pytest

from codeparrot import launcher
from tests.launching import write_config


def test_garbage_is_collected_rarely_and_then_as_usual() -> None:
    usual = gc.get_threshold()
    launcher.collect_garbage_rarely()
    assert gc.get_threshold()[0] > usual[0]
    launcher.collect_garbage_as_usual()
    assert gc.get_threshold() == usual and gc.get_freeze_count() > 0
    gc.unfreeze()


@pytest.mark.slow
def test_a_run_trains_with_the_usual_thresholds(tmp_path, corpus, tokenizer_folder) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, train={"max_steps": 4})
    code = (
        "import gc, sys; usual = gc.get_threshold(); from codeparrot.cli import main\n"
        "status = main(['train', '--config', sys.argv[1]]); print(status, gc.get_threshold() == usual)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["0 True"], done.stderr
