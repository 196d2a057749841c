"""The parts of a run that change as it goes on, and how they are made."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from codeparrot.config import Config
from codeparrot.stream import ConstantLengthDataset
from codeparrot.training.health import Health
from codeparrot.training.processes import Agreement
from codeparrot.training.sharding import ShardedState
from codeparrot.training.watchdog import Watchdog


@dataclass(frozen=True)
class Training:
    """The parts of a run that change as it goes on, and those that everything behind a step needs."""

    config: Config
    accelerator: Any
    agreement: Agreement
    watchdog: Watchdog
    model: Any
    """The LanguageModel, as Accelerate has wrapped it."""
    skeleton: Any
    """The transformers model without weights: how a checkpoint is written and read, whatever the strategy."""
    tokenizer: Any
    stream: ConstantLengthDataset
    sharded: ShardedState
    health: Health

    @property
    def checkpoints(self) -> Path:
        return self.config.run_directory / "checkpoints"

    @property
    def language_model(self) -> Any:
        """The transformers model inside all wrappers."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False).model


def seed_step(seed: int, step: int, rank: int) -> None:
    """Draw the masks of dropout of a step from these numbers alone: a checkpoint needs no random state."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)
