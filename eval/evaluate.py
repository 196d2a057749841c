"""An evaluation of a checkpoint: the order of its steps, the folder it writes to, and the settings its samples depend on."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic

from codeparrot import files
from codeparrot.eval import parallel, scoring
from codeparrot.eval import samples as store
from codeparrot.eval.problems.problem import P, ProblemSet
from codeparrot.eval.sampling import Sampling, wanted
from codeparrot.eval.task import Task
from codeparrot.location import path_of
from codeparrot.result import DONE, STOPPED, Result, say


@dataclass(frozen=True)
class Evaluation(Generic[P]):
    """Evaluation of one checkpoint by one task; the arguments are those of the task's command."""

    task: Task[P]
    problems: ProblemSet[P]
    """All problems of the task, or the first of them."""
    checkpoint: str
    temperatures: list[float]
    num_samples: int
    sampling: Sampling
    batch_size: int
    device: str
    precision: str
    output: str | None

    def run(self, share: parallel.Share) -> Result:
        """Generate the missing samples; then, on the main process, score.

        Raises:
            CodeparrotError: the checkpoint cannot be used, the folder has samples of another or cannot be written, or answers
                cannot be scored here.
        """
        from codeparrot.loading import find_model
        from codeparrot.training.preemption import StopRequest

        if share.of == 1:
            self.task.check_scorable()
        place = in_full(find_model(self.checkpoint))
        folder = path_of(self.output) if self.output else default_folder(place, self.problems.name)
        store.check_room(folder)
        keys = wanted(self.problems, self.temperatures, self.num_samples)
        processes, device = parallel.start(self.device)
        if processes.main and share.of == 1 and not store.read_all(folder).keys() >= set(keys):
            # What is wrong with the problems is known before hours are spent on them.
            self.task.check_problems(self.problems)
        with StopRequest() as stop:
            settings = self._generate(place, folder, keys, processes, device, share, stop)
            processes.wait()
        processes.close()
        if not processes.main:
            return Result("", {"stopped": bool(stop.reason)}, STOPPED if stop.reason else DONE)
        done = store.read_all(folder)
        there = sum(key in done for key in keys)
        facts = {"checkpoint": place, "output": str(folder), "samples": there}
        if share.of > 1:
            words = f"{folder}: share {share.number} of {share.of}; {there} of all {len(keys)} samples are done"
            return Result(words, {**facts, "stopped": bool(stop.reason)}, STOPPED if stop.reason else DONE)
        if there < len(keys):
            words = f"{there} of {len(keys)} samples are done; run the same command again to continue"
            return Result(words, {**facts, "stopped": True}, STOPPED)
        with suppress(OSError):
            # Only tidies: the samples are there, and where nothing can be written any more, scoring says so.
            store.put_together(folder, self.problems, done)
        return self._score(place, folder, settings, [done[key] for key in keys])

    def _generate(
        self, place: str, folder: Path, keys: Any, processes: parallel.Processes, device: str, share: parallel.Share, stop: Any
    ) -> dict[str, Any]:
        """Generate the missing samples; return the settings that all of them depend on, on the main process."""
        say("loading PyTorch")
        from codeparrot.loading import load_model, load_tokenizer_of, stored_dtype
        from codeparrot.model.hardware import dtype_of, keep_freed_memory

        there = store.read_all(folder)
        dtype = None if self.precision == "auto" else dtype_of(self.precision)
        complete = all(key in there for key in keys) and processes.count == 1
        if complete and (known := dtype or stored_dtype(place, device)) is not None:
            # Nothing to generate: the hash of the files identifies the weights without loading them.
            return self._hold(folder, place, known, lambda: load_tokenizer_of(place))
        model, tokenizer = load_model(place, device, dtype)
        if model.device.type == "cpu":
            keep_freed_memory()
        settings = self._hold(folder, place, model.dtype, lambda: tokenizer) if processes.main else {}
        processes.wait()
        near_end = parallel.time_is_up()
        parallel.generate_missing(
            folder,
            self.task,
            self.problems,
            keys,
            model,
            tokenizer,
            self.sampling,
            self.batch_size,
            processes,
            share,
            lambda: stop.requested or near_end(),
        )
        return settings

    def _hold(self, folder: Path, place: str, dtype: Any, tokenizer: Callable[[], Any]) -> dict[str, Any]:
        """Record the settings that the samples depend on, and return them.

        Raises:
            CodeparrotError: the samples that are there have others.
        """
        settings = {
            "checkpoint": place,
            "weights": weights_of(place),
            "problems": self.problems.sha256,
            "precision": precision_name(dtype),
            **asdict(self.sampling),
            **self.task.settings,
            **self.task.settings_of(tokenizer),
        }
        # Earlier versions recorded the precision that was asked for, "auto", and not what it became; and no template.
        store.hold_settings(folder, settings, former={"precision": self.precision, "chat_template": None})
        return settings

    def _score(self, place: str, folder: Path, settings: dict[str, Any], samples: list[dict[str, Any]]) -> Result:
        from codeparrot.eval.plots import draw_over_tokens

        made = {name: value for name, value in settings.items() if name not in ("checkpoint", "problems")}
        facts: dict[str, Any] = {
            "checkpoint": place,
            "settings": {**made, "samples": self.num_samples, "temperature": self.temperatures},
        }
        manifest = Path(place).parent / "manifest.json"
        if manifest.is_file():
            facts["tokens"] = trained_tokens(manifest)
        result = scoring.report(self.task, self.problems, self.task.score(self.problems, samples), facts, folder)
        run = run_of(place)
        if run is not None:
            try:
                draw_over_tokens(run, run / "plots" / "pass_at_k.png")
            except OSError as error:
                print(f"{run}/plots/pass_at_k.png is not drawn: {error.strerror or error}", file=sys.stderr)
        return result


def trained_tokens(manifest: Path) -> int | None:
    """Return how many tokens a model was trained on; None, with a warning, if its manifest is damaged."""
    try:
        tokens = files.read_object(manifest).get("tokens")
        if not isinstance(tokens, int | None):
            raise ValueError(f"its tokens are {tokens!r}")
        return tokens
    except (OSError, ValueError) as error:
        print(f"{manifest} cannot be read ({error}): the report does not say how many tokens were trained on", file=sys.stderr)
        return None


def in_full(place: str) -> str:
    """Return the path of a model so that it shows its run, also when it was named from inside that."""
    path = Path(place)
    if ".." in path.parts:
        return str(path.resolve())
    return str(path.absolute()) if len(path.parts) < 4 else place


def run_of(place: str) -> Path | None:
    """Return the run that a model belongs to, RUN of RUN/checkpoints/step_00001000/model, or None."""
    path = Path(place)
    return path.parents[2] if path.name == "model" and len(path.parts) > 3 and path.parents[1].name == "checkpoints" else None


def default_folder(place: str, problems: str, measure: str = "") -> Path:
    """Return where the evaluation of a model is written; one that is not by unit tests names its `measure`."""
    name, run = problems.removeprefix("hub:").replace("/", "--").removesuffix(".gz").removesuffix(".jsonl"), run_of(place)
    name = f"{measure}-{name}" if measure else name
    if run is not None:
        return run / "eval" / name / Path(place).parent.name
    own = path_of(place)
    return Path("evaluations") / (own.name if own.exists() else place.replace("/", "--")) / name


def precision_name(dtype: Any) -> str:
    """Return the name of a type of weights: fp32, bf16, fp16, or torch's own."""
    name = str(dtype).removeprefix("torch.")
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(name, name)


def weights_of(place: str) -> str:
    """Return what identifies the weights in a folder or file, wherever it is: a hash of its content."""
    import xxhash

    path = Path(place)
    files = [path] if path.is_file() else [*path.glob("*.safetensors"), path / "config.json", *path.glob("tokenizer*.json")]
    if path.is_dir() and not (path / "tokenizer.json").is_file():
        # A tokenizer of an older format.
        others = ("vocab.*", "merges.txt", "*.model", "*.tiktoken", "added_tokens.json", "special_tokens_map.json")
        files += [file for pattern in others for file in path.glob(pattern)]
    hashed = xxhash.xxh3_128()
    for file in sorted(files):
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 24):
                hashed.update(chunk)
    return hashed.hexdigest()
