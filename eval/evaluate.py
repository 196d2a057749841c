"""An evaluation of a checkpoint: the order of its steps, the folder it writes to, and the settings its samples depend on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic

from codeparrot.eval import parallel, scoring
from codeparrot.eval import samples as store
from codeparrot.eval.problems.problem import P, ProblemSet
from codeparrot.eval.sampling import Sampling, wanted
from codeparrot.eval.task import Task
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
            CodeparrotError: the checkpoint cannot be used, or the folder has samples of another.
        """
        from codeparrot.loading import find_model
        from codeparrot.training.preemption import StopRequest

        place = find_model(self.checkpoint)
        folder = Path(self.output).expanduser() if self.output else default_folder(place, self.problems.name)
        keys = wanted(self.problems, self.temperatures, self.num_samples)
        processes, device = parallel.start(self.device)
        with StopRequest() as stop:
            self._generate(place, folder, keys, processes, device, share, stop)
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
        store.put_together(folder, self.problems, done)
        return self._score(place, folder, [done[key] for key in keys])

    def _generate(
        self, place: str, folder: Path, keys: Any, processes: parallel.Processes, device: str, share: parallel.Share, stop: Any
    ) -> None:
        say("loading PyTorch")
        import torch

        from codeparrot.loading import load_model
        from codeparrot.model.hardware import keep_freed_memory

        there = store.read_all(folder)
        if all(key in there for key in keys) and processes.count == 1 and Path(place).exists():
            # Nothing to generate: the hash of the files identifies the weights without loading them.
            store.hold_settings(folder, self._settings(place, None))
            return
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        model, tokenizer = load_model(place, device, dtypes.get(self.precision))
        if model.device.type == "cpu":
            keep_freed_memory()
        if processes.main:
            store.hold_settings(folder, self._settings(place, model))
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

    def _settings(self, place: str, model: Any) -> dict[str, Any]:
        """Return the settings that the samples depend on."""
        return {
            "checkpoint": place,
            "weights": weights_of(place, model),
            "problems": self.problems.sha256,
            "precision": self.precision,
            **asdict(self.sampling),
            **self.task.settings,
        }

    def _score(self, place: str, folder: Path, samples: list[dict[str, Any]]) -> Result:
        from codeparrot.eval.plots import draw_over_tokens

        settings = {**asdict(self.sampling), **self.task.settings, "precision": self.precision, "samples": self.num_samples}
        facts: dict[str, Any] = {"checkpoint": place, "settings": {**settings, "temperature": self.temperatures}}
        manifest = Path(place).parent / "manifest.json"
        if manifest.is_file():
            facts["tokens"] = json.loads(manifest.read_text(encoding="utf-8")).get("tokens")
        result = scoring.report(self.task, self.problems, self.task.score(self.problems, samples), facts, folder)
        run = run_of(place)
        if run is not None:
            draw_over_tokens(run, run / "plots" / "pass_at_k.png")
        return result


def run_of(place: str) -> Path | None:
    """Return the run that a model belongs to, RUN of RUN/checkpoints/step_00001000/model, or None."""
    path = Path(place)
    return path.parents[2] if path.name == "model" and len(path.parts) > 3 and path.parents[1].name == "checkpoints" else None


def default_folder(place: str, problems: str) -> Path:
    """Return where the evaluation of a model is written."""
    name, run = problems.removeprefix("hub:").replace("/", "--").removesuffix(".gz").removesuffix(".jsonl"), run_of(place)
    if run is not None:
        return run / "eval" / name / Path(place).parent.name
    own = Path(place).expanduser()
    return Path("evaluations") / (own.name if own.exists() else place.replace("/", "--")) / name


def weights_of(place: str, model: Any) -> str:
    """Return what identifies these weights: a hash of the files, or the commit on the Hub."""
    import xxhash

    path = Path(place)
    if not path.exists():
        return str(getattr(model.config, "_commit_hash", None))
    files = (
        [path] if path.is_file() else sorted([*path.glob("*.safetensors"), path / "config.json", *path.glob("tokenizer*.json")])
    )
    hashed = xxhash.xxh3_128()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 24):
                hashed.update(chunk)
    return hashed.hexdigest()
