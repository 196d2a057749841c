"""Whose samples a folder holds, where the results of an evaluation go, and what is found out before anything is generated."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.eval import evaluate, parallel, samples, scoring
from codeparrot.eval.evaluate import Evaluation
from codeparrot.eval.parallel import Share
from codeparrot.eval.problems.problem import ProblemSet
from codeparrot.eval.sampling import Sampling
from codeparrot.eval.sandbox import bubblewrap
from codeparrot.eval.task import Rows, Task
from codeparrot.eval.tasks.humaneval import HumanEval
from codeparrot.generation.requests import Request
from codeparrot.result import Result
from tests.launching import require


@dataclass(frozen=True)
class Snippet:
    task_id: str
    prompt: str


@dataclass(frozen=True)
class Echo(Task[Snippet]):
    """Continue the text; everything passes."""

    refused: tuple[Path, ...] = ()
    """Folders that are full once the samples are scored."""

    def load(self) -> ProblemSet[Snippet]:
        return ProblemSet.of("echo", [Snippet("a", "x = 1\n"), Snippet("b", "y = 2\n")], "this test")

    def request(self, problem: Snippet, tokenizer: Any) -> Request:
        return Request(problem.prompt)

    def score(self, problems: ProblemSet[Snippet], samples: Rows) -> list[dict[str, Any]]:
        return [{**sample, "passed": True} for sample in samples]

    def summary(self, problems: ProblemSet[Snippet], results: Rows) -> dict[str, Any]:
        return {"share": 1.0}

    def write(self, report: Any, folder: Path) -> None:
        if any(folder == each or each in folder.parents for each in self.refused):
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))


@pytest.fixture
def run(tokenizer_folder: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    shape: Any = {"vocab_size": 512, "n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    checkpoint = tmp_path / "runs" / "tiny" / "checkpoints" / "step_00001000"
    GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).save_pretrained(checkpoint / "model")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(checkpoint / "model")
    (checkpoint / "manifest.json").write_text(json.dumps({"step": 1000, "tokens": 5000}))
    return tmp_path / "runs" / "tiny"


def echo(
    checkpoint: str | Path,
    output: Path | None = None,
    precision: str = "auto",
    task: Task[Any] | None = None,
    share: Share = Share(),  # noqa: B008
) -> Result:
    task = task or Echo()
    place = str(output) if output else None
    problems = task.load().first(2)
    return Evaluation(task, problems, str(checkpoint), [0.5], 1, Sampling(max_new_tokens=4), 4, "cpu", precision, place).run(
        share
    )


def generates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of samples that each later evaluation generates."""
    counts: list[int] = []
    generate = parallel.generate

    def counted(*arguments: Any) -> Any:
        counts.append(len(list(arguments[4])))
        return generate(*arguments)

    monkeypatch.setattr(parallel, "generate", counted)
    return counts


def test_the_same_weights_by_another_path_go_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = generates(monkeypatch)
    found = echo(run)
    folder = run / "eval" / "echo" / "step_00001000"
    assert found.data["output"] == str(folder) and counts == [2]
    before = (folder / "samples.jsonl").read_bytes()
    for place, name in (
        (run.parent, "tiny"),
        (run, "."),
        (run, "checkpoints/step_00001000"),
        (run / "checkpoints", "step_00001000"),
        (run / "checkpoints" / "step_00001000", "model"),
        (run / "checkpoints" / "step_00001000" / "model", "."),
    ):
        monkeypatch.chdir(place)
        assert Path(echo(name).data["output"]).resolve() == folder
    copy = run.parent / "elsewhere"
    shutil.copytree(run / "checkpoints" / "step_00001000" / "model", copy)
    echo(copy, output=folder)
    moved = run.rename(run.with_name("moved"))
    again = echo(moved).data
    assert again["output"] == str(moved / "eval" / "echo" / "step_00001000")
    assert counts == [2] and (moved / "eval" / "echo" / "step_00001000" / "samples.jsonl").read_bytes() == before
    recorded = json.loads((moved / "eval" / "echo" / "step_00001000" / "settings.json").read_text())
    assert again["settings"]["weights"] == recorded["weights"] and again["settings"]["precision"] == "fp32"


def test_other_weights_at_the_same_path_do_not_go_on(run: Path) -> None:
    echo(run)
    model = run / "checkpoints" / "step_00001000" / "model" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00\x01"[-1:])
    with pytest.raises(CodeparrotError, match=r"weights \w+ \(now \w+\): name another --output"):
        echo(run)


def test_a_precision_is_what_auto_became(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = generates(monkeypatch)
    echo(run)
    settings = run / "eval" / "echo" / "step_00001000" / "settings.json"
    assert json.loads(settings.read_text())["precision"] == "fp32"
    echo(run, precision="fp32")
    with pytest.raises(CodeparrotError, match=r"precision fp32 \(now bf16\)"):
        echo(run, precision="bf16")
    # An earlier version recorded what was asked for.
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "precision": "auto"}))
    with pytest.raises(CodeparrotError, match=r"precision auto \(now bf16\)"):
        echo(run, precision="bf16")
    echo(run)
    assert json.loads(settings.read_text())["precision"] == "fp32" and counts == [2]


@pytest.mark.parametrize(("stored", "name"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16"), (torch.float32, "fp32")])
def test_auto_is_what_is_stored_where_there_is_an_accelerator(
    run: Path, stored: torch.dtype, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codeparrot import loading

    place = run / "checkpoints" / "step_00001000" / "model"
    model: Any = GPT2LMHeadModel.from_pretrained(place)
    model.to(stored).save_pretrained(place)
    found = loading.stored_dtype(str(place), "cpu")
    assert found is torch.float32
    monkeypatch.setattr(loading, "_device", lambda _: torch.device("meta"))
    assert evaluate.precision_name(loading.stored_dtype(str(place))) == name


CHAT = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"


def test_another_chat_template_makes_other_samples(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = generates(monkeypatch)
    template = run / "checkpoints" / "step_00001000" / "model" / "chat_template.jinja"
    template.write_text(CHAT)
    task, half = HumanEval("codeparrot", chat=True), Share(0, 2)
    for _ in range(2):
        echo(run, task=task, share=half, output=run / "chat")
    assert counts == [1], "the second time, the sample was there"
    template.write_text(CHAT.replace("<", "["))
    with pytest.raises(CodeparrotError, match=r"chat_template \w+ \(now \w+\)"):
        echo(run, task=task, share=half, output=run / "chat")
    # Without a conversation the template does not matter.
    plain = HumanEval("codeparrot")
    echo(run, task=plain, share=half, output=run / "plain")
    template.unlink()
    echo(run, task=plain, share=half, output=run / "plain")


@pytest.fixture
def without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)


def test_a_missing_sandbox_is_told_before_anything_is_loaded(
    run: Path, without_bubblewrap: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("codeparrot.loading.find_model", lambda name: pytest.fail("looked for the model"))
    command = ["eval", "humaneval", "--problems", "codeparrot", "--checkpoint", str(run)]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert "apt install bubblewrap" in err and len(err.splitlines()) == 1
    assert not (run / "eval").exists()


def test_a_share_needs_no_sandbox(run: Path, without_bubblewrap: None, tmp_path: Path) -> None:
    echo(run, task=HumanEval("codeparrot"), share=Share(0, 2), output=tmp_path / "share")
    assert list((tmp_path / "share").glob("samples-*.jsonl"))


@pytest.mark.slow
def test_a_wrong_reference_solution_is_told_before_anything_is_generated(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("bwrap", "reference solutions run in it")
    row = {"task_id": "t/1", "prompt": "def f():\n", "entry_point": "f", "canonical_solution": "    return 1\n"}
    path, command = tmp_path / "own.jsonl", HumanEval(str(tmp_path / "own.jsonl"))
    counts = generates(monkeypatch)
    for right in (2, 1):
        path.write_text(json.dumps({**row, "test": f"def check(candidate):\n    assert candidate() == {right}\n"}))
        if right == 2:
            with pytest.raises(CodeparrotError, match="the reference solution of t/1 does not pass"):
                echo(run, task=command)
            assert not counts
    # The corrected problem has the place to itself.
    assert echo(run, task=command).data["samples"] == 1 and counts == [1]


@pytest.mark.slow
def test_values_that_are_no_plain_data_are_told_where_no_reference_solution_shows_the_way(tmp_path: Path, capsys) -> None:
    require("bwrap", "programs run in it")
    row = {"prompt": "def f():\n", "entry_point": "f", "test": "def check(candidate):\n    assert candidate().real == 1\n"}
    solution = "    class A:\n        real = 1\n    return A()\n"
    tasks = {"a": {}, "b": {"canonical_solution": solution}}
    problems, theirs = tmp_path / "own.jsonl", tmp_path / "theirs.jsonl"
    problems.write_text("".join(json.dumps({"task_id": name, **row, **more}) + "\n" for name, more in tasks.items()))
    theirs.write_text("".join(json.dumps({"task_id": name, "completion": solution}) + "\n" for name in tasks))
    assert main(["eval", "humaneval", "--problems", str(problems), "--samples_file", str(theirs), "--k", "1"]) == 0
    out = capsys.readouterr().out
    assert "50.00%" in out and "1 of the programs exchanged more than plain data" in out and "canonical_solution" in out


def full(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_or_read_only_output_is_found_before_anything_is_generated_or_judged(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(samples.tempfile, "TemporaryFile", full)
    counts = generates(monkeypatch)
    with pytest.raises(CodeparrotError, match=r"cannot be written .*No space left.*name another --output"):
        echo(run)
    assert counts == []
    file = tmp_path / "theirs.jsonl"
    file.write_text(json.dumps({"task_id": "codeparrot/0", "completion": ""}) + "\n")
    monkeypatch.setattr(HumanEval, "score", lambda *_: pytest.fail("judged"))
    for what in (["--samples_file", str(file), "--partial"], ["--reference", "--output", str(tmp_path / "references")]):
        assert main(["eval", "humaneval", "--problems", "codeparrot", *what]) == 1
        err = capsys.readouterr().err
        assert "No space left" in err and len(err.splitlines()) == 1


def test_a_disk_that_fills_while_samples_are_made_keeps_them(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append: Callable[..., None] = samples.files.append
    written: list[Path] = []

    def filling(path: Path, lines: bytes) -> None:
        if written:
            full()
        written.append(path)
        append(path, lines)

    monkeypatch.setattr(samples.files, "append", filling)
    with pytest.raises(CodeparrotError, match=r"No space left on device\): 1 new samples are kept; .*same command"):
        echo(run)
    monkeypatch.setattr(samples.files, "append", append)
    counts = generates(monkeypatch)
    assert echo(run).data["samples"] == 2 and counts == [1]


def test_what_was_judged_goes_to_a_second_place_that_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, here, home, temporary = (tmp_path / name for name in ("output", "here", "home", "temporary"))
    for folder in (here, home, temporary):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(scoring.Path, "home", lambda: home)
    monkeypatch.setattr(scoring.tempfile, "gettempdir", lambda: str(temporary))
    for refused, place in (((output,), here), ((output, here), home), ((output, here, home), temporary)):
        found = echo(run, output=output, task=Echo(refused))
        (spare,) = place.iterdir()
        assert found.status.code == 1 and f"the results are in {spare}" in found.status.problem
        assert "No space left on device" in found.status.problem and str(output) in found.status.problem
        assert len((spare / "results.jsonl").read_text().splitlines()) == 2
        assert json.loads((spare / "report.json").read_text()) == found.data and found.data["output"] == str(spare)
        shutil.rmtree(spare)
    found = echo(run, output=output, task=Echo((output, here, home, temporary)))
    assert found.status.code == 1 and "only what is printed here" in found.status.problem and "share" in found.text
    assert [*here.iterdir(), *home.iterdir(), *temporary.iterdir()] == []


def test_a_picture_that_can_not_be_drawn_costs_no_score(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("codeparrot.eval.plots.draw_over_tokens", full)
    found = echo(run)
    assert found.status.code == 0 and found.data["share"] == 1.0
    assert "pass_at_k.png is not drawn: No space left on device" in capsys.readouterr().err


def test_settings_that_can_not_be_read_are_one_line(run: Path) -> None:
    echo(run)
    path = run / "eval" / "echo" / "step_00001000" / "settings.json"
    for content in (b"\0\0", b"[]", b"{", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(CodeparrotError, match=r"settings\.json .*name another --output"):
            echo(run)


@pytest.mark.parametrize("content", ["\0" * 9, "[]", "[" * 100_000, '{"tokens": "x"}'])
def test_a_damaged_manifest_beside_the_model_costs_no_score(
    run: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run / "checkpoints" / "step_00001000"
    (checkpoint / "manifest.json").write_text(content)
    found = echo(checkpoint / "model")
    assert found.status.code == 0 and found.data["share"] == 1.0 and found.data.get("tokens") is None
    assert f"{checkpoint}/manifest.json cannot be read" in capsys.readouterr().err
