"""Runs whose windows predict different numbers of tokens: the loss is the mean over the tokens, on any number of processes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.errors import CodeparrotError
from codeparrot.inspect_batch import inspect
from codeparrot.model import IGNORED
from codeparrot.model.families import build_model, model_config
from codeparrot.objectives.objective import Examples
from codeparrot.training.packing import Uneven, micro_batches_of
from tests.conftest import python_sources
from tests.launching import TINY, lines, run, write_config
from tests.training.again import check_killed, check_two_processes


class Processes:
    """Agreements of simulated processes that are asked one after the other: the sums are known before."""

    def __init__(self, sums: list[int]) -> None:
        self._sums = sums

    def sums(self, *_: int) -> list[int]:
        return self._sums


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([(1, 8), (1, 2), (2, 2), (4, 1)]))
def test_gradients_are_those_of_the_mean_over_all_tokens(seed, split) -> None:
    world_size, micro = split
    rng = np.random.default_rng(seed)
    windows = rng.integers(1, 16, (8, 12))
    for row in windows:
        row[int(rng.integers(1, 13)) :] = IGNORED
    config = {"family": "gpt2", "vocab_size": 16, "n_positions": 12, "n_embd": 8, "n_layer": 1, "n_head": 2}
    config |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = build_model(model_config(config), seed=1)
    ids, labels = torch.tensor(np.where(windows == IGNORED, 0, windows)), torch.tensor(windows)
    predicted = int((windows[:, 1:] != IGNORED).sum())
    expected = model(ids, labels, "sum") / max(1, predicted)
    expected.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    total = 0.0
    agreement: Any = Processes([int((windows != IGNORED).sum()), predicted])
    for rank in range(world_size):
        own = windows[rank::world_size]
        count = len(own) // micro
        training: Any = SimpleNamespace(
            uneven=Uneven(agreement, world_size, 0, document_mask=False),
            micro_batches=lambda _, count=count: count,
            to_device=lambda examples: tuple(map(torch.tensor, (examples.input_ids, examples.labels))),
        )
        training.examples = lambda batch, *_, of=training: of.uneven.labelled(
            Examples(of.uneven.whole(batch), of.uneven.whole(batch)), batch
        )
        for input_ids, marked, share in micro_batches_of(training, iter(np.split(own, count)), 0):
            loss = model(input_ids, marked) * share / count / world_size
            loss.backward()
            total += loss.item()
        assert training.uneven.tokens == (windows != IGNORED).sum()
    assert total == pytest.approx(expected.item(), abs=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5)


def test_an_objective_that_moves_tokens_is_refused() -> None:
    windows = np.array([[1, 2, IGNORED]])
    weighed = Uneven(Processes([]), 1, 0, document_mask=False)  # pyright: ignore[reportArgumentType]
    with pytest.raises(CodeparrotError, match=r"labels \[1, 2\] of windows \[1, 3\]; leave out stream.packing best_fit"):
        weighed.labelled(Examples(windows[:, :2], windows[:, :2]), windows)


@pytest.fixture(scope="module")
def corpus_of_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of many lengths, most of them shorter than four windows."""
    folder = tmp_path_factory.mktemp("files")
    rows = [json.dumps({"content": text[: 20 + 37 * number % 400]}) for number, text in enumerate(python_sources(150))]
    (folder / "train-0.jsonl").write_text("\n".join(rows[:130]) + "\n", encoding="utf-8")
    (folder / "valid-0.jsonl").write_text("\n".join(rows[130:]) + "\n", encoding="utf-8")
    return folder


def best_fit(folder: Path, corpus: Path, tokenizer: Path, **changes: Any) -> Path:
    changes["stream"] = {"packing": "best_fit"} | changes.get("stream", {})
    return write_config(folder / "tiny.yaml", corpus, tokenizer, **changes)


@pytest.fixture(scope="module")
def trained(corpus_of_files: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    changes: dict[str, Any] = {"evaluate": {"every_steps": 24, "sample_tokens": 0}}
    config = best_fit(tmp_path_factory.mktemp("best_fit"), corpus_of_files, tokenizer_folder, **changes)
    _, log = run(config)
    return config, log


@pytest.mark.slow
def test_a_run_counts_tokens_without_padding_and_says_how_much_there_is(trained) -> None:
    config, log = trained
    directory = config.parent / "runs" / "tiny"
    assert "256 tokens a step, padding included" in log
    assert "documents packed best-fit, windows shuffled in blocks of 10 a lane" in log
    assert "% of the documents cut | " in log
    steps = [line for line in lines(directory) if "padding_fraction" in line]
    assert len(steps) == 24
    seen = 0
    for line in steps:
        assert line["tokens"] - seen == pytest.approx(256 * (1 - line["padding_fraction"]))
        seen = line["tokens"]
        assert 0 < line["cut_fraction"] < 1
    step = next(line["step"] for line in steps[1:] if line["padding_fraction"] > 0)
    shown = inspect(str(directory), step)
    assert "8 windows of 32 tokens from 4 lanes; " in shown.text and " tokens of padding" in shown.text
    tokens = [len(window["input_ids"]) for window in shown.data["windows"]]
    assert sum(tokens) == steps[step - 1]["tokens"] - steps[step - 2]["tokens"]
    assert all(32 - count == window.get("padding", 0) for count, window in zip(tokens, shown.data["windows"], strict=True))
    assert any("cut" in document for window in shown.data["windows"] for document in window["documents"])


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "fsdp", "zero2"])
def test_two_processes_and_other_micro_batches_take_the_steps_of_one(trained, tmp_path, launch) -> None:
    check_two_processes(trained[0], tmp_path, launch)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_exactly(trained, tmp_path) -> None:
    again = check_killed(trained[0], tmp_path)
    _, log = run(again, "--stream.packing", "concatenate", status=1)
    assert "stream.packing: best_fit -> concatenate" in log


@pytest.mark.slow
def test_documents_that_do_not_see_each_other_are_learned_alike_by_two_processes(
    corpus_of_files, tokenizer_folder, tmp_path
) -> None:
    found = []
    for number, (micro, packing) in enumerate([(4, "concatenate"), (2, "concatenate"), (2, "best_fit")]):
        changes: dict[str, Any] = {
            "stream": {"packing": packing, "document_mask": True},
            "train": {"max_steps": 6, "micro_batch_size": micro},
            "checkpoint": {"every_steps": 0},
            "evaluate": {"every_steps": 6, "sample_tokens": 0},
        }
        (tmp_path / str(number)).mkdir()
        changes["train"] = {**TINY["train"], **changes["train"]}
        config = best_fit(tmp_path / str(number), corpus_of_files, tokenizer_folder, **changes)
        _, log = run(config, num_processes=2 if number == 1 else 1)
        assert "documents of a window do not see each other" in log
        found.append(lines(tmp_path / str(number) / "runs" / "tiny"))
    for name in ("loss", "eval_loss", "tokens", "eval_tokens"):
        one, two, other = ([line[name] for line in each if name in line] for each in found)
        assert one == pytest.approx(two, abs=1e-5)
        assert (one == other) == (name == "eval_tokens")
