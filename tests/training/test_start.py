"""What a process has loaded when it takes the first step."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import write_config

NEVER = ("deepspeed", "pandas", "pyarrow.compute", "matplotlib", "datasets", "sklearn", "tensorboard", "wandb")

CODE = """
import sys
from codeparrot import cli, train

def first_step(*_):
    print([name for name in {never!r} if name in sys.modules], file=sys.stderr)
    raise SystemExit(0)

train._step = first_step
cli.main(["train", "--config", {config!r}])
"""


@pytest.mark.slow
def test_what_the_first_step_does_not_need_is_not_loaded_before_it(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path
) -> None:
    """With an evaluation and samples before it. DeepSpeed and pandas cost half a second each, and nobody uses them here."""
    evaluate = {"every_steps": 8, "max_tokens": 256, "sample_tokens": 4}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=evaluate, train={"precision": "auto"})
    code = CODE.format(never=NEVER, config=str(config))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "evaluation at step 0" in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    # What auto became is what a resume elsewhere will read.
    recorded = re.search(r"precision: (\w+)", (tmp_path / "runs" / "tiny" / "config.yaml").read_text(encoding="utf-8"))
    assert recorded and recorded[1] in ("fp32", "bf16")
    assert f"compute     {recorded[1]} (products of one thread: " in done.stderr
