"""Gates of a step that is not logged: nothing in it waits for the device."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from codeparrot.config import Config
from codeparrot.model.families import LanguageModel, _new_model, model_config
from codeparrot.optim.adamw import AdamW
from codeparrot.optim.optimizer import set_learning_rate
from codeparrot.run.progress import Progress
from codeparrot.train import _step
from codeparrot.training.agreement import Agreement
from codeparrot.training.health import Health
from codeparrot.training.monitor import Monitor

FAMILIES = {
    "gpt2": {"n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2},
    "llama": {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
}


@pytest.fixture(autouse=True)
def accelerates_state() -> Iterator[None]:
    """Accelerate keeps one state a process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def parts(precision: str, family: str, **train: Any) -> Any:
    """Make a tiny Training of tensors without numbers: to read one raises an error."""
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin

    config = Config()
    config.train.global_batch_size, config.train.micro_batch_size, config.train.log_every_steps = 4, 2, 10
    for name, value in train.items():
        setattr(config.train, name, value)
    accelerator = Accelerator(
        cpu=True,
        device_placement=False,
        mixed_precision=precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=2),
    )
    settings = model_config({"family": family, "vocab_size": 32, **FAMILIES[family]})
    bare = LanguageModel(_new_model(settings), own_loss=False)
    kind = AdamW()
    model, optimizer = accelerator.prepare(bare, kind.build(bare, asdict(config.optim)))
    windows = torch.zeros((2, 16), dtype=torch.int64)
    return SimpleNamespace(
        config=config,
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        health=Health(config.train, accelerator, optimizer.optimizer, kind),
        agreement=Agreement(accelerator),
        micro_batches=lambda _: 2,
        uneven=None,
        gradients_stay=False,
        kernels=nullcontext,
        examples=lambda *_: windows,
        to_device=lambda examples: (examples, examples),
    )


def take_step(training: Any, number: int, monitor: Monitor) -> None:
    """What the loop does in a step, up to the flags."""
    set_learning_rate(training.optimizer, 1e-3)
    loss, grad_norm = _step(training, iter([None, None]), number, monitor)
    training.health.done(number + 1, loss, grad_norm, None)
    monitor.step(Progress(number + 1, 0), 1e-3)
    assert not training.health.hopeless
    training.agreement.any_soon(False, False, False)


@pytest.mark.parametrize(
    ("family", "precision", "settings"),
    [("gpt2", "bf16", {}), ("gpt2", "no", {"outlier_sigmas": 6.0}), ("llama", "bf16", {})],
    ids=["gpt2-bf16", "gpt2-fp32", "llama"],
)
def test_a_step_that_is_not_logged_reads_nothing_from_the_device(family, precision, settings) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        training = parts(precision, family, **settings)
        monitor: Any = Monitor.__new__(Monitor)
        monitor._training, monitor._bar, monitor._data_seconds = training, SimpleNamespace(advance=lambda: None), 0.0
        for number in range(3):
            take_step(training, number, monitor)
        # A logged step does, so the gate can fail.
        with pytest.raises(DataDependentOutputException):
            training.health.review()
