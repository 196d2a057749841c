"""The parts of a run that change as it goes on, and how the configuration makes them."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from codeparrot.config import Config, as_list
from codeparrot.loading import tokenizer_digest
from codeparrot.model import attention, documents
from codeparrot.model.families import build_model, model_config, without_weights
from codeparrot.model.hardware import dtype_of
from codeparrot.model.kinds import Kind
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import (
    Examples,
    Objective,
    check_even,
    check_windows,
    fitted,
    kind_trained,
    lengths_of,
    longest,
    transforms_of,
)
from codeparrot.optim import load_optimizer
from codeparrot.optim.optimizer import NeedsWhole, moments_by_name
from codeparrot.optim.schedule import learning_rate
from codeparrot.stream import ConstantLengthDataset, make_encoder
from codeparrot.stream.balance import resolved
from codeparrot.stream.batches import Batches, batches_of
from codeparrot.stream.entries import places_of
from codeparrot.stream.mixture import check_mixture, further_sets, mixture_of
from codeparrot.stream.overlap import check_disjoint
from codeparrot.stream.tokenized import check_tokenizer
from codeparrot.stream.transform import Transform
from codeparrot.training.agreement import Agreement
from codeparrot.training.deepspeed import exchanges_of
from codeparrot.training.fitting import fit_vocabulary
from codeparrot.training.health import Health
from codeparrot.training.packing import Uneven, uneven
from codeparrot.training.precision import Precision
from codeparrot.training.sharding import ShardedState, sharded_state
from codeparrot.training.source import Source, check_agreed, first_weights, fit_source, settings_of, source_of, tokenizer_of
from codeparrot.training.strategy import finish_wrapping, strategy_name, strategy_of
from codeparrot.training.watchdog import Watchdog

TRITON_CAPABILITY = (7, 0)
"""What inductor asks of an NVIDIA GPU (V100 and newer); it ends with an error on others."""


class Fitted(NamedTuple):
    """Parts that were checked to fit together before the run writes anything."""

    tokenizer: Any
    settings: Any
    """The transformers config of the model."""
    objective: Objective
    transforms: list[Transform | None]
    """What the objective makes of the documents of each source."""
    config: Config
    """With the family of the model, which `model.from` leaves to the source."""
    source: Source | None
    """Of the weights; None if they are drawn."""


@dataclass(frozen=True)
class Start:
    """What a run has before its model and its data."""

    config: Config
    accelerator: Any
    agreement: Agreement
    watchdog: Watchdog
    tokenizer: Any
    settings: Any
    """The transformers config of the model."""
    precision: Precision
    source: Source | None = field(default=None, kw_only=True)
    """Of the weights; None if they are drawn, or those of a checkpoint of the run."""

    @property
    def checkpoints(self) -> Path:
        return self.config.run_directory / "checkpoints"


@dataclass(frozen=True)
class Training(Start):
    """The parts of a run that change as it goes on, and those that everything after a step needs."""

    model: Any
    """The model whose forward pass is its loss, wrapped by Accelerate."""
    language_model: Any
    """The transformers model inside all wrappers. `Accelerator.unwrap_model` would import DeepSpeed to find it."""
    way: str
    """How hidden states are computed (model/language_model.py)."""
    optimizer: Any
    """Wrapped by Accelerate."""
    skeleton: Any
    """The transformers model without weights: checkpoints are written and read through it, whatever the strategy."""
    stream: ConstantLengthDataset
    objective: Objective
    sharded: ShardedState
    health: Health
    compiling: "Compiling"
    uneven: Uneven | None
    """Where windows predict different numbers of tokens."""

    def kernels(self) -> AbstractContextManager[Any]:
        """Have SDPA prefer the kernels that suit a step. Generation has its own: cuDNN plans anew for each length."""
        return attention.kernels(self.accelerator.device, self.config.train.attention)

    def uncompiled(self) -> AbstractContextManager[Any]:
        """Run the model as it was written: what is not a step has other shapes, and would have the layers compiled again."""
        return torch.compiler.set_stance("force_eager") if self.compiling.on else nullcontext()

    def attention(self) -> str:
        """Return the kernel that SDPA takes in a step."""
        dtype = dtype_of(self.config.train.precision)
        if self.config.stream.document_mask:
            own = self.language_model.base_model
            flash = self.way == "gpt2" and documents.takes_flash(own, self.accelerator.device, dtype)
            return "flash for sequences of many lengths" if flash else "with a mask"
        with self.kernels():
            return attention.chosen(self.settings, self.accelerator.device, dtype, self.config.stream.seq_length)

    @property
    def kind(self) -> Kind:
        """Return the kind of the model."""
        return kind_trained(self.objective)

    @property
    def batches(self) -> Batches:
        return batches_of(self.config.train)

    def micro_batches(self, step: int) -> int:
        """Return the number of forward passes of this process in optimizer step `step`, counted from 0."""
        return self.config.micro_batches(self.accelerator.num_processes, self.batches.size(step))

    @property
    def taken_at_once(self) -> int:
        """Return how many micro-batches of this process are taken before the first forward pass of a step, at most."""
        return self.config.micro_batches(self.accelerator.num_processes, self.batches.largest) if self.uneven else 1

    @property
    def gradients_stay(self) -> bool:
        """Whether gradients keep their memory between steps: DDP's lie in its buckets, and new ones would lie beside them."""
        return isinstance(self.model, DistributedDataParallel)

    def tokens_before(self, step: int) -> int:
        """Return the tokens of the first `step` steps, padding included."""
        return self.batches.before(step) * self.config.stream.seq_length

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of optimizer step `step`, counted from 0."""
        schedule = self.config.schedule
        return learning_rate(
            step,
            peak=self.config.optim.lr,
            warmup_steps=schedule.warmup_steps,
            max_steps=self.config.train.max_steps,
            name=schedule.name,
            final_fraction=schedule.final_fraction,
            decay_fraction=schedule.decay_fraction,
            decay_shape=schedule.decay_shape,
        )

    def tokens_of(self, step: int) -> int:
        """Return the tokens of optimizer step `step`, counted from 0, which is the last that was taken; padding is none."""
        return self.uneven.tokens if self.uneven else self.batches.size(step) * self.config.stream.seq_length

    def examples(self, windows: Any, step: int, micro_batch: int) -> Examples:
        """Return the examples that the objective makes of a micro-batch.

        Raises:
            CodeparrotError: the objective does not predict the same number of tokens in each window, where it must.
        """
        numbers, seed = self._numbers(step, micro_batch), self.config.run.seed
        if self.uneven:
            return self.uneven.labelled(self.objective.examples(self.uneven.whole(windows), numbers, seed), windows)
        found = self.objective.examples(windows, numbers, seed)
        check_even(found, self.kind)
        return found

    def to_device(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Return input ids and labels on the device, [windows, length] each."""
        input_ids = to_device(examples.input_ids, self.accelerator.device)
        same = examples.labels is examples.input_ids
        return input_ids, input_ids if same else to_device(examples.labels, self.accelerator.device)

    def _numbers(self, step: int, micro_batch: int) -> Sequence[int]:
        """Return the numbers in the run's order of the windows in a micro-batch of this process.

        Sequence j of the run comes from lane j mod lanes. Lanes are dealt to the processes round-robin, and so are sequences.
        """
        train, world_size = self.config.train, self.accelerator.num_processes
        first = batches_of(train).before(step) // world_size + micro_batch * train.micro_batch_size
        rank = self.accelerator.process_index
        return [rank + world_size * number for number in range(first, first + train.micro_batch_size)]


def fit(config: Config) -> Fitted:
    """Return tokenizer, model and objective of a configuration, and check that its splits are two.

    Raises:
        CodeparrotError: they do not fit together, or the run would be validated on what it learns.
    """
    config = replace(config, stream=resolved(config.stream))
    check_mixture(config)
    if config.stream.valid and config.evaluate.every_steps:
        check_disjoint(config.stream)
    further = further_sets(config).values()
    for each in further:
        check_disjoint(each.stream, each.setting)
    source = source_of(config)
    tokenizer = tokenizer_of(config, source)
    valid = [config.stream, *(each.stream for each in further)]
    data = [*places_of(config.stream.train), *(place for stream in valid for place in as_list(stream.valid))]
    check_tokenizer(data, tokenizer.eos_token_id, tokenizer_digest(tokenizer))
    objective = fitted(load_objective(config.objective), tokenizer)
    check_windows(objective, config.stream)
    length = longest(objective, config.stream.seq_length)
    settings = settings_of(config, source) if source else model_config(config.model, kind_trained(objective))
    if source:
        fit_source(settings, tokenizer, config, source, length)
        config = replace(config, model={**config.model, "family": settings.model_type})
    settings = fit_vocabulary(settings, tokenizer, config, length)
    first = source if source and source.first else None
    return Fitted(tokenizer, settings, objective, transforms_of(objective, config, tokenizer), config, first)


def make(start: Start, fitted: Fitted) -> Training:
    """Make the parts as they are at the beginning of a run, wrapped for the number of processes there are.

    Raises:
        CodeparrotError: the data cannot be read.
    """
    tokenizer, settings, objective, transforms, *_ = fitted
    config, accelerator = start.config, start.accelerator
    rank, world_size = accelerator.process_index, accelerator.num_processes
    # Data: this process's lanes of the stream.
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id, config.stream.encoder)
    ranks: Any = {"rank": rank, "world_size": world_size}
    how: Any = {"seed": config.run.seed, "transform": transforms, "mixture": mixture_of(config)}
    stream = ConstantLengthDataset(config.stream, encoder, **how, **ranks)

    # Model and optimizer. A strategy that splits the model also moves it to the device.
    attention.activate(config.train.attention)
    compiling, checkpointing = compiles(config.train.compile, accelerator), config.train.activation_checkpointing
    how: Any = {"activation_checkpointing": checkpointing, "compile": compiling.on, "z_loss": config.train.z_loss}
    how |= {"end_of_document": tokenizer.eos_token_id} if config.stream.document_mask else {}
    check_agreed(start.source, start.agreement)
    loaded = first_weights(config, start.source, settings, accelerator) if start.source else None
    model = build_model(settings, seed=config.run.seed, loaded=loaded, **how)
    model = model.to(accelerator.device) if strategy_of(accelerator) == "replicated" else model
    language_model, way, kind = model.model, model.way, load_optimizer(config.optimizer_settings())
    bare = kind.build(model, config.optimizer_settings())
    moments = moments_by_name(kind, bare, language_model)
    places = {id(each): place for group in bare.param_groups for place, each in enumerate(group["params"])}
    model, optimizer = accelerator.prepare(model, bare)
    with attention.kernels(accelerator.device, config.train.attention):
        finish_wrapping(accelerator, model, config.train.micro_batch_size, lengths_of(objective, config.stream.seq_length))
    zero = model.optimizer if strategy_of(accelerator) == "deepspeed" else None
    if zero is not None and isinstance(bare, NeedsWhole):
        bare.exchanges = exchanges_of(zero, bare, places)
    return Training(
        **vars(start),
        model=model,
        language_model=language_model,
        way=way,
        optimizer=optimizer,
        skeleton=without_weights(settings),
        stream=stream,
        objective=objective,
        sharded=sharded_state(accelerator, model, language_model, bare, kind, moments),
        health=Health(config.train, accelerator, bare, kind, zero),
        compiling=compiling,
        uneven=uneven(config, objective, start.agreement, world_size, tokenizer.eos_token_id),
    )


class Compiling(NamedTuple):
    """Whether the model's layers are compiled, and why, in the words of the log."""

    on: bool
    why: str


def compiles(asked: bool | str, accelerator: Any) -> Compiling:
    """Return what `train.compile` means here."""
    if asked == "auto" and accelerator.device.type != "cuda":
        return Compiling(False, "no (auto: on NVIDIA GPUs alone)")
    if asked and strategy_name(accelerator) == "ZeRO-3":
        return Compiling(False, "no (ZeRO-3 gathers weights inside of the layers)")
    if asked == "auto" and torch.cuda.get_device_capability(accelerator.device) < TRITON_CAPABILITY:
        return Compiling(False, "no (auto: Triton needs a GPU of compute capability 7.0 or more)")
    if asked == "auto" and not (find_spec("triton") and any(map(which, (os.environ.get("CC", ""), "gcc", "clang")))):
        return Compiling(False, "no (auto: Triton or a C compiler for it is not installed)")
    return Compiling(True, "each layer, in the first step") if asked else Compiling(False, "no")


def to_device(array: Any, device: torch.device) -> Tensor:
    """Return an array on the device, without waiting for a GPU."""
    batch = torch.from_numpy(array)
    return batch.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else batch.to(device)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed the dropout masks of a step from these numbers alone, so that a checkpoint needs no random state."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)
