"""What all parts of `make gpu-trial` (gpu.py) share: the device, the sizes, and the recipes at those sizes."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

STEPS = 30
TINY_MODEL = ["--model.n_layer", "2", "--model.n_embd", "64", "--model.n_head", "2", "--model.vocab_size", "1024"]
LOSS_TOLERANCE, GRADIENT_TOLERANCE, BF16_TOLERANCE = 1e-5, 1e-4, 2e-2
"""Relative: of the loss and of all gradients together in fp32; of the loss in bf16, which keeps 8 bits."""


@dataclass(frozen=True)
class Trial:
    """What all parts share: `folder` holds the data and the runs."""

    device: str
    tiny: bool
    folder: Path

    def config(self, name: str, *overrides: str) -> list[str]:
        """Return the arguments of a run of configs/NAME.yaml on the trial's data, without evaluation, with few steps."""
        length = "64" if self.tiny else "1024"
        data = ["--tokenizer.path", str(self.folder / "tokenizer"), "--stream.train", str(self.folder / "corpus")]
        data += ["--stream.valid", "[]", "--stream.seq_length", length, "--stream.lanes", "4", "--evaluate.every_steps", "0"]
        data += ["--objective.fim_rate", "0"]  # the trial's tokenizer has no sentinels
        run = ["--run.dir", str(self.folder / "runs"), "--train.max_steps", str(STEPS), "--train.log_every_steps", "10"]
        schedule = ["--schedule.warmup_steps", "5", "--checkpoint.every_steps", "0", "--checkpoint.every_minutes", "0"]
        model = TINY_MODEL if self.tiny else []
        return ["--config", str(files("codeparrot.configs") / f"{name}.yaml"), *data, *run, *schedule, *model, *overrides]

    def settings(self, name: str) -> dict[str, Any]:
        """Return the `model` section of configs/NAME.yaml, at the trial's size."""
        from codeparrot.arguments import parse_config

        return parse_config(self.config(name)).model
