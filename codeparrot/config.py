"""Every setting of a run: typed, documented, checked before anything is loaded.

One dataclass a concern. Unit, range and whether a resumed run may change it stand at the field (setting.py); the string under
a field is its `--help`. A YAML file (`--config`) and dotted overrides (`--optim.lr 3e-4`) describe a run, the same for
`codeparrot train` and `accelerate launch codeparrot/train.py`. Settings that cannot work together are refused (checks.py) in
one line that names the key and the nearest value that would work.

Every count of steps in the project is in optimizer steps; every batch size is in windows.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from codeparrot.location import path_of
from codeparrot.setting import ABOVE_0, BELOW_1, FRACTION, MAY_CHANGE, WITHIN_A_DAY, Was, at_least, called, setting


@dataclass
class RunConfig:
    """The run and where it lives."""

    name: str = setting("run", may_change=True, also="run_name experiment_name")
    """Name of the run; its directory is `run.dir`/`run.name`."""
    dir: str = setting("runs", may_change=True, also="output_dir out_dir output")
    """Parent folder of all runs."""
    seed: int = setting(0, rule=at_least(0), also="random_seed")
    """Seed of everything random: the initial weights, the order of the documents, dropout, samples."""


@dataclass
class TokenizerConfig:
    """The tokenizer that turns documents into tokens."""

    path: str = setting("", may_change=True, also="tokenizer_name tokenizer_name_or_path tokenizer_ckpt")
    """Folder of a tokenizer in the transformers format (from `codeparrot tokenizer train`), or a name on the Hub; empty: that
    of the weights which `model.from` names."""


@dataclass
class StreamConfig:
    """The documents and their order. All settings here except `on_error`, `encoder` and `prefetch_batches` fix the order of the
    run."""

    train: list[str | dict[str, Any]] | dict[str, Any] | str = field(
        default_factory=list, metadata=MAY_CHANGE | called("dataset dataset_name train_file train_data data")
    )
    """Training documents: Parquet or JSONL(.gz, .zst) files, folders, globs, windows from `codeparrot corpus tokenize`, or
    `hub:NAME[@REVISION]`. Or sources, `[{path: data/python, weight: 2}, {path: data/go}]`; optional are `name`, `epochs` (warns
    of more), `valid` (own documents), `description` (a column: pairs). One a language: `{path: data/all, weights: {python: 1,
    go: 0.2}}`, or `balance: 0.5`, the bytes of each to that power. A run that goes on keeps the weights."""
    phases: list[dict[str, Any]] = field(default_factory=list)
    """Weights of the sources over the run: each phase holds `until` a share of train.max_steps, the last until 1; `weights`, a
    list or by name, stand for those of the sources: `[{until: 0.8}, {until: 1, weights: {python: 0.2, go: 0.8}}]`."""
    valid: list[str] | str = field(default_factory=list, metadata=MAY_CHANGE | called("validation_file eval_data eval_dataset"))
    """Validation documents, as `stream.train`; empty: no evaluation."""
    text_column: str = setting("content", also="text_field dataset_text_field content_field")
    """Column that holds the text of a document."""
    seq_length: int = setting(
        1024,
        "tokens",
        at_least(2, "a window needs at least 2 tokens, one to read and one to predict"),
        also="block_size context_length max_length max_seq_length seq_len",
    )
    """Tokens in a window."""
    lanes: int = setting(1, "lanes", at_least(1, most=65536))
    """Independent lanes of the stream. Window j of a global batch comes from lane j mod lanes. The number of lanes must divide
    the global batch, and the number of processes must divide the lanes: more lanes allow more processes."""
    order: Literal["auto", "windows", "documents"] = setting("auto", also="shuffle")
    """In which order windows come. windows: drawn from blocks of windows, so that consecutive steps train on different files;
    documents: as they are packed, documents in a drawn order; auto: windows, or the order in which the run was begun."""
    packing: Literal["concatenate", "best_fit"] = setting("concatenate", also="packing_strategy")
    """concatenate: a document goes on in the next window where one ends; best_fit: documents that fit into a window stay whole,
    longer ones are cut into windows, and what stays free at the end of a window is padding, which nothing is learned from."""
    document_mask: bool = setting(False, also="reset_attention_mask reset_position_ids intra_doc_masking")
    """Documents of a window do not see each other, positions begin anew with each, and their first tokens are not predicted."""
    block_windows: int = setting(0, "windows", at_least(0), also="shuffle_buffer")
    """Windows in a block of a lane; 0: from memory, 64 MB of tokens for all lanes together, at most 2,048 windows."""
    block_documents: int = setting(256, "documents", at_least(1))
    """Documents in a block, where `stream.order` is documents."""
    on_error: Literal["stop", "skip"] = setting("stop", may_change=True)
    """What becomes of a damaged document, row group or file. stop: the run ends, with the file, the place and the remedy; skip:
    it is left out of training and validation, counted, and listed in damaged.jsonl. All others keep their order."""
    encoder: Literal["auto", "tokenizers", "fastokens"] = setting("auto", may_change=True)
    """Library that encodes text: `tokenizers` is the reference; `fastokens` gives the same ids many times faster; `auto` takes
    fastokens if it gives equal ids in a probe at the start, and says so if it does not."""
    prefetch_batches: int = setting(4, "micro-batches", at_least(1, most=4096), may_change=True)
    """Micro-batches that the background prepares ahead."""


@dataclass
class TrainConfig:
    """The loop."""

    global_batch_size: int = setting(192, "windows", at_least(1), also="batch_size train_batch_size total_batch_size")
    """Windows in an optimizer step, over all processes and micro-batches."""
    global_batch_schedule: list[list[int]] = field(default_factory=list)
    """Other sizes from some steps on, `[[1000, 256], [4000, 512]]`: after step 1000 a step has 256 windows (batch warm-up)."""
    micro_batch_size: int = setting(
        8,
        "windows",
        at_least(1),
        may_change=True,
        also="per_device_train_batch_size device_batch_size gradient_accumulation_steps",
    )
    """Windows in a forward pass of one process. Changes speed and memory, never the result."""
    max_steps: int = setting(
        1000, "steps", at_least(1), also="max_train_steps max_iters num_steps steps epochs num_epochs num_train_epochs"
    )
    """Length of the run in optimizer steps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", also="mixed_precision dtype bf16 fp16")
    """Compute type of matrix products; parameters and optimizer state stay float32. auto: on a GPU bf16, else fp16 with scaled
    loss, else fp32; on a CPU the faster of fp32 and bf16, by a probe; later the run's own, which is in config.yaml."""
    activation_checkpointing: Literal["none", "selective", "full"] = setting(
        "none",
        may_change=True,
        also="grad_checkpointing recompute",
        was=Was("gradient_checkpointing", {"true": "full", "false": "none"}),
    )
    """Activations that the backward pass computes again instead of keeping them. none: a layer of GPT-2 in bf16 keeps 36 bytes
    a token, times its width (34 if compiled); selective: 24 (22), the results of matrix products and attention, at little
    cost (not with ZeRO-3); full: 4, its input alone, at a third more compute."""
    compile: bool | Literal["auto"] = setting("auto", may_change=True, also="torch_compile")
    """torch.compile the layers, as one graph that all of them share: a slow first step, then faster ones, and less memory.
    Evaluations and samples run uncompiled. auto: on NVIDIA GPUs of compute capability 7.0 and above, except with ZeRO-3."""
    attention: Literal["auto", "cudnn", "flash", "fa3", "fa4", "efficient", "math"] = setting("auto", may_change=True)
    """Kernel of SDPA that training tries first on NVIDIA GPUs; the log says which one it takes. auto: cuDNN on H100 and B200,
    else flash. fa3 and fa4 are flash attention 3 and 4 where they are installed, without dropout of attention."""
    z_loss: float = setting(0.0, rule=at_least(0))
    """Weight of the z-loss, which keeps logits from drifting in long runs: 1e-4 is usual; 0: none. It is in the gradients; the
    loss that is logged stays the cross-entropy."""
    ema_decay: float = setting(0.0, rule=BELOW_1, also="ema ema_beta")
    """Decay of an exponential average of the weights, 0.999 for thousands of steps; 0: none. Evaluations measure it too, and
    checkpoints hold it beside the model, in `ema/`. 4 bytes a parameter."""
    log_every_steps: int = setting(10, "steps", at_least(1), may_change=True, also="logging_steps log_interval log_every")
    """Steps between lines in metrics.jsonl and in the trackers. There, mfu counts FLOPs as PaLM does, tflops_per_device as
    llm.c does: 6 a parameter, and of attention only the half that the causal mask leaves."""
    max_skipped_steps: int = setting(10, "steps", at_least(1), may_change=True)
    """A step whose loss or gradient is not finite is skipped. After this many in a row the run ends with an error."""
    outlier_sigmas: float = setting(0.0, "sigmas", at_least(0))
    """Also skip a step whose gradient norm is this many standard deviations (6 is a good value) above the mean of the last
    `outlier_window` steps. 0: steps beyond 6 and beyond twice the mean are taken, and reported in anomalies.jsonl."""
    outlier_window: int = setting(128, "steps", at_least(16, "a standard deviation needs 16 or more"))
    """Previous steps that a gradient norm is compared with."""
    startup_minutes: float = setting(30.0, "minutes", ABOVE_0, may_change=True)
    """The run ends with an error if it finishes no step for this long at its start (data, compilation, first steps)."""
    timeout_minutes: float = setting(5.0, "minutes", ABOVE_0, may_change=True)
    """Later, the run ends so long after its last step, evaluation batch or checkpoint, and names the process that hangs."""


@dataclass
class OptimConfig:
    """The optimizer."""

    name: str = setting("adamw", also="optimizer optim")
    """What updates the weights: adamw; muon: the matrices of the layers by orthogonalised momentum, the rest by AdamW."""
    lr: float = setting(5e-4, rule=ABOVE_0, also="learning_rate max_lr peak_lr")
    """Peak learning rate."""
    weight_decay: float = setting(0.1, rule=at_least(0), also="wd")
    """Decoupled weight decay of matrices and embeddings; biases and norms have none."""
    beta1: float = setting(0.9, rule=BELOW_1, also="adam_beta1 betas")
    """Decay of the running mean of the gradient."""
    beta2: float = setting(0.999, rule=BELOW_1, also="adam_beta2")
    """Decay of the running mean of its square."""
    eps: float = setting(1e-8, rule=ABOVE_0, also="epsilon adam_epsilon adam_eps")
    """Added to the denominator."""
    momentum: float = setting(0.95, rule=BELOW_1, also="muon_momentum")
    """muon: decay of the running mean of the gradient of a matrix (Nesterov's momentum)."""
    embedding_lr: float = setting(0.0, rule=at_least(0))
    """muon: peak learning rate of embeddings, and of a head that is tied to them; 0: `optim.lr`."""
    head_lr: float = setting(0.0, rule=at_least(0))
    """muon: peak learning rate of a head of its own; 0: `optim.lr`."""
    vector_lr: float = setting(0.0, rule=at_least(0))
    """muon: peak learning rate of biases and norms; 0: `optim.lr`."""
    clip_norm: float = setting(1.0, rule=at_least(0), also="max_grad_norm grad_clip gradient_clipping clip_grad_norm")
    """Largest norm of the whole gradient; 0: no clipping."""


@dataclass
class ScheduleConfig:
    """The learning rate over the steps."""

    name: Literal["cosine", "linear", "wsd", "constant"] = setting("cosine", also="lr_scheduler_type lr_scheduler scheduler")
    """Shape after the warm-up; wsd: constant, then a decay at the end."""
    warmup_steps: int = setting(0, "steps", at_least(0), also="num_warmup_steps warmup_iters warmup_ratio warmup")
    """Steps in which the learning rate rises linearly to its peak."""
    final_fraction: float = setting(0.0, rule=FRACTION, also="min_lr min_lr_ratio final_lr")
    """Learning rate of the last step as a fraction of the peak."""
    decay_fraction: float = setting(0.2, rule=FRACTION)
    """wsd: share of the run's steps in which the learning rate decays."""
    decay_shape: Literal["linear", "1-sqrt", "cosine"] = "linear"
    """wsd: how it decays; 1-sqrt falls fast and then ever more slowly."""
    decay_now: float = setting(0.0, rule=BELOW_1)
    """wsd, with `--from RUN@step_N`: the learning rate decays from that checkpoint to the end, over this share of the whole
    run. `train.max_steps` follows: N / (1 - share), rounded. 0: `decay_fraction` says where it decays."""


@dataclass
class EvaluateConfig:
    """Loss, perplexity and bits per byte on the validation set, and samples of generated code."""

    every_steps: int = setting(1000, "steps", at_least(0), also="eval_steps eval_interval")
    """Steps between evaluations, also at the beginning and at the end; 0: none."""
    max_tokens: int | Literal["auto"] = setting("auto", "tokens", at_least(0), also="max_eval_steps eval_iters")
    """Tokens that an evaluation during the run measures: the same sample of the validation windows each time, at least a window
    a lane. auto: so many that these evaluations of a set together cost 2% of the training's compute; 0: all. The end of the run
    measures the whole validation set. As many again are measured of each set of `evaluate.also`, by the average with
    `train.ema_decay`, and about as many of middles with `objective.fim_rate`. None of these changes the others' samples."""
    also: dict[str, list[str] | str] = field(default_factory=dict)
    """Further validation sets by name, each as `stream.valid` and measured as often, with its own lines in metrics.jsonl:
    `also: {tests: data/tests, go: hub:owner/go}`."""
    micro_batch_size: int = setting(0, "windows", at_least(0), also="batch_size eval_batch_size per_device_eval_batch_size")
    """Windows in a forward pass; 0: `train.micro_batch_size`."""
    prompts: list[str] = field(default_factory=lambda: ["def ", "import os\n\n\ndef list_files(path):"])
    """Prompts to complete at each evaluation; the completions go to log/samples.jsonl."""
    sample_tokens: int = setting(64, "tokens", at_least(0))
    """Longest sample; 0: no samples."""
    likelihood_problems: str = ""
    """Problems whose reference solutions are measured at each evaluation, in bits a byte: how likely the model finds them says
    something long before one of its own passes. Named as in `humaneval_problems`; infilling: the middles of the project's own
    gaps, infilling-single-line and the like: those of HumanEval. Empty: none."""
    humaneval_every_steps: int = setting(0, "steps", at_least(0))
    """Steps between measurements of pass@1 by unit tests, also at the end; 0: none. Training waits only for the completions;
    the programs run in the background (bubblewrap must be installed)."""
    humaneval_problems: str = "codeparrot"
    """Problems to complete: humaneval, humaneval+, mbpp, codeparrot (the project's own), a JSONL file, or hub:NAME."""
    humaneval_limit: int = setting(0, "problems", at_least(0))
    """Take only this many problems, the first; 0: all."""
    humaneval_samples: int = setting(4, "samples", at_least(1))
    """Samples for each problem, at temperature 0.2."""
    infilling_every_steps: int = setting(0, "steps", at_least(0))
    """Steps between measurements of infilling by unit tests, also at the end; 0: none. As pass@1 is measured, with one middle
    for each gap, at temperature 0. The tokenizer must have sentinels."""
    infilling_problems: str = "own"
    """Gaps to fill: single-line, multi-line (HumanEval infilling), random-span, own (the project's), or a JSONL file."""
    infilling_limit: int = setting(0, "gaps", at_least(0))
    """Take only this many gaps, the first; 0: all."""


@dataclass
class CheckpointConfig:
    """Checkpoints; one is always written at the end of the run and when the run is stopped."""

    every_steps: int = setting(1000, "steps", at_least(0), also="save_steps save_interval save_checkpoint_steps")
    """Steps between checkpoints; 0: none by steps."""
    every_minutes: float = setting(0.0, "minutes", at_least(0))
    """Minutes between checkpoints, counted from the last one; 0: none by time."""
    keep_last: int = setting(3, "checkpoints", at_least(1), also="save_total_limit total_limit keep")
    """How many of the newest checkpoints are kept."""
    keep_every_steps: int = setting(0, "steps", at_least(0))
    """Checkpoints at multiples of this step are kept for ever; 0: none."""
    background: bool = True
    """Training waits only until the state is copied to the host's memory; writing, hashing and pruning happen beside it."""
    mirror: str = setting("", also="remote_folder remote_checkpoint_path")
    """Where copies of checkpoints go, behind training: `s3://bucket/folder`, `gs://`, `az://`, or a folder on another disk, one
    for each run. A run goes on from there where its checkpoints here are gone or older. Empty: no copies."""
    time_limit_margin_seconds: float = setting(60.0, "seconds", at_least(0))
    """In a SLURM job, the run saves and ends this long, plus twice the longest save so far, before the job's end."""


@dataclass
class TrackingConfig:
    """Experiment trackers beside metrics.jsonl. A tracker that fails is reported and dropped; training goes on."""

    trackers: list[Literal["tensorboard", "wandb"]] = field(
        default_factory=list, metadata=called("report_to log_with loggers wandb tensorboard")
    )
    """Trackers to send metrics to. Without a key wandb works offline (`wandb sync` sends the run later)."""
    project: str = setting("codeparrot", also="wandb_project project_name")
    """W&B project that the runs belong to."""


@dataclass
class HubConfig:
    """Branch on the Hub to which a process of its own pushes the run's checkpoints, one commit each. Training never waits for
    it: what could not be pushed stays queued in the run's `hub.json`, and `codeparrot hub push` pushes it later."""

    repo: str = setting("", also="hub_model_id repo_id push_to_hub repository")
    """`owner/name` of a model repository, created if it does not exist; empty: nothing is pushed."""
    branch: str = ""
    """Branch of the run, created if it does not exist; empty: `run.name`."""
    private: bool = setting(True, also="hub_private_repo")
    """Whether a newly created repository is private."""
    every: int = setting(0, "steps", at_least(0))
    """Steps between pushed checkpoints; 0: push all. The checkpoint of the last step is always pushed."""
    when_behind: Literal["in_order", "newest"] = "in_order"
    """What to push when several checkpoints wait: all in order (they stay on the disk until then), or only the newest."""
    state: bool = False
    """Also push the optimizer's state and the position in the data, which are twice the bytes of the model. The run can then be
    resumed from the Hub (`--resume hub:owner/name@branch`)."""
    finish_minutes: float = setting(10.0, "minutes", at_least(0))
    """At the end of the run, wait for uploads until none has moved for this long; the rest stays queued."""
    timeout_seconds: float = setting(300.0, "seconds", WITHIN_A_DAY)
    """A request that the Hub does not answer for this long is given up, and tried again later."""
    retry_seconds: float = setting(2.0, "seconds", ABOVE_0)
    """Wait before a failed push is tried again; it doubles each time, up to five minutes."""


@dataclass
class Config:
    """A run."""

    run: RunConfig = field(default_factory=RunConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    model: dict[str, Any] = field(default_factory=lambda: {"family": "gpt2"})
    """`family` and any field of that family's transformers config (`--model.n_layer 12`). Or `--model.from`: the run begins
    with the weights of a model folder, a run, a .gguf file or `owner/name[@revision]` on the Hub, whose family and fields are
    kept; `resize_embeddings: true` then adds rows for the tokenizer's further ids."""
    objective: dict[str, Any] = field(default_factory=lambda: {"name": "causal"})
    """`name` of what the model learns to predict (causal: the next token; masked: hidden ones; span: spans taken out), and its
    settings (docs/objectives.md). Of causal: `fim_rate` (of documents with the middle last), `fim_spm_rate`, `fim_level`,
    `describe_rate`; of masked: `rate`, `mask_share`, `random_share`, `unit`; of span: `rate`, `mean_span`, `mixture`,
    `targets`, `permute`."""
    train: TrainConfig = field(default_factory=TrainConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig, metadata=MAY_CHANGE)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig, metadata=MAY_CHANGE)
    tracking: TrackingConfig = field(default_factory=TrackingConfig, metadata=MAY_CHANGE)
    hub: HubConfig = field(default_factory=HubConfig, metadata=MAY_CHANGE)
    resume: str = setting("auto", may_change=True)
    """`auto`: go on from the newest complete checkpoint of the run directory if there is one; `never`: start anew, in a run
    directory without checkpoints; a path: start from that checkpoint, even with other settings; `hub:NAME[@REVISION]`: like
    auto, but a run directory without checkpoints starts from the one that was pushed there with hub.state."""
    parent: str = setting("", may_change=True, was=Was("from", {}))
    """Also `--parent`. Checkpoint of another run at which this one begins, with its data, weights and optimizer state:
    RUN@step_N, a run folder (its newest checkpoint), or a checkpoint's folder. Settings that are not given are the parent's."""

    @property
    def run_directory(self) -> Path:
        return path_of(self.run.dir) / self.run.name

    def optimizer_settings(self) -> dict[str, Any]:
        """Return what `optim.load_optimizer` takes."""
        return asdict(self.optim) | {"ema_decay": self.train.ema_decay}

    def micro_batches(self, world_size: int, windows: int = 0) -> int:
        """Return the forward passes of one process in an optimizer step of so many windows; 0: `train.global_batch_size`."""
        return (windows or self.train.global_batch_size) // (world_size * self.train.micro_batch_size)

    def to_yaml(self) -> str:
        import yaml

        return yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True)


def as_list(value: list[str] | str) -> list[str]:
    """Return one name or several as a list."""
    return [value] if isinstance(value, str) else list(value)
