"""The precision of a run: named, kept, or the fastest of the machine."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from codeparrot.arguments import parse_config
from codeparrot.errors import CodeparrotError
from codeparrot.model import hardware
from codeparrot.run import checkpoint
from codeparrot.training import precision
from codeparrot.training.precision import settle
from codeparrot.training.processes import Agreement, start_processes

NEEDED = ["--tokenizer.path", "t", "--stream.train", "c"]
CPU = SimpleNamespace(device=torch.device("cpu"), is_main_process=True, num_processes=1)
GPU = SimpleNamespace(device=torch.device("cuda"), is_main_process=True, num_processes=1)


class Votes(Agreement):
    """An agreement with the processes of other machines."""

    def __init__(self, *others: Any) -> None:
        self._others = others

    def gather(self, item: Any) -> list[Any]:
        return [item, *self._others]


def settled(arguments: list[str], state: Any = CPU, agreement: Any = None) -> precision.Precision:
    return settle(parse_config([*NEEDED, *arguments]), state, agreement or Agreement(state))


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    speeds = {"fp32": 70e9, "bf16": 0.9e9}
    monkeypatch.setattr(hardware, "cpu_flops", lambda: speeds)
    return speeds


@pytest.mark.parametrize(("bf16", "chosen"), [(0.9e9, "fp32"), (75e9, "fp32"), (400e9, "bf16")])
def test_a_new_run_on_a_cpu_takes_the_faster_type_and_says_why(bf16: float, chosen: str, products: dict[str, float]) -> None:
    products["bf16"] = bf16
    found = settled([])
    assert found.name == chosen and not found.warning
    assert found.reason == f"products of one thread: {bf16 / 1e9:,.3g} GFLOP/s in bf16, 70 in fp32"


def test_bf16_that_a_recipe_names_on_a_processor_without_it_is_told_the_factor(products: dict[str, float]) -> None:
    found = settled(["--train.precision", "bf16"])
    assert found.name == "bf16" and "bf16 is 77.8 times slower than fp32 here" in found.warning
    products["bf16"] = 400e9
    assert settled(["--train.precision", "bf16"]) == ("bf16", "", "")


def test_other_processes_take_what_the_main_one_found(products: dict[str, float]) -> None:
    main = settled([])
    state = SimpleNamespace(device=CPU.device, is_main_process=False, num_processes=2)
    products.clear()  # a probe would fail here

    class FromMain(Agreement):
        answers = iter([None, main])  # where the run was begun, and the choice

        def from_main(self, item: Any) -> Any:
            assert item is None
            return next(self.answers)

    assert settled([], state, FromMain(CPU)) == main


@pytest.mark.parametrize(
    ("votes", "chosen"),
    [
        (["bf16", "bf16"], "bf16"),
        (["bf16", "fp16"], "fp16"),  # an A100 and a V100
        (["bf16", "fp32"], "fp32"),
    ],
)
def test_gpus_take_what_all_of_them_can_do(votes: list[str], chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "half_precision", lambda _: votes[0])
    agreement = Votes(*votes[1:])
    monkeypatch.setattr(agreement, "from_main", lambda item: item)
    assert settled([], GPU, agreement).name == chosen


def test_deepspeed_without_bf16_trains_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "half_precision", lambda _: "fp16")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert settled([], GPU).name == "fp32"


@pytest.mark.parametrize(
    ("bf16", "capability", "type_"), [(True, (8, 0), "bf16"), (False, (7, 0), "fp16"), (False, (6, 1), "fp32")]
)
def test_a_gpu_is_used_at_what_it_has_in_hardware(bf16: bool, capability: Any, type_: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert hardware.half_precision(torch.device("cuda")) == type_


def saved(folder: Path, step: int, **train: str) -> Path:
    """Write a checkpoint of nothing but its settings, as a run with `train` among them does."""
    config = {"train": train, "stream": {}, "resume": train.pop("resume", "auto")}
    partial = checkpoint.partial_of(folder / "checkpoints", step)
    checkpoint.begin(partial)
    return checkpoint.publish(partial, {"step": step, "tokens": 0, "config": config}, {})


def test_a_run_keeps_the_precision_in_which_it_was_begun(tmp_path: Path, products: dict[str, float]) -> None:
    saved(tmp_path / "run", 1, precision="bf16")
    here = ["--run.dir", str(tmp_path)]
    assert settled(here)[:2] == ("bf16", "in which the run was begun")
    assert "77.8 times slower" in settled(here).warning
    # A recipe that names another is another run, which the start refuses.
    assert settled([*here, "--train.precision", "fp32"]).name == "fp32"
    assert settled([*here, "--resume", "never"]).name == "fp32"


def test_a_run_that_was_begun_in_a_type_that_is_not_here_is_told_how_to_go_on(tmp_path: Path, monkeypatch) -> None:
    place = saved(tmp_path / "first", 1, precision="fp16")
    for name, resume in (("first", []), ("second", ["--resume", str(place)])):
        config = parse_config([*NEEDED, "--run.dir", str(tmp_path), "--run.name", name, *resume])
        with pytest.raises(CodeparrotError) as error:
            start_processes(config)
        assert "fp16 needs a GPU, and the run was begun in it; to go on in fp32: --resume " in str(error.value)
        assert str(place.parents[1]) in str(error.value)
        assert str(error.value).endswith(" --train.precision fp32")
    saved(tmp_path / "run", 1, precision="bf16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    with pytest.raises(CodeparrotError, match=r"Tesla V100 does not .* bf16, and the run was begun in it"):
        start_processes(parse_config([*NEEDED, "--run.dir", str(tmp_path)]))


def test_a_run_from_before_the_setting_was_recorded_is_in_bf16(tmp_path: Path, products: dict[str, float]) -> None:
    saved(tmp_path / "run", 1)
    assert settled(["--run.dir", str(tmp_path)]).name == "bf16"


def test_a_run_from_a_named_checkpoint_keeps_its_precision(tmp_path: Path, products: dict[str, float]) -> None:
    place = saved(tmp_path / "first", 1, precision="bf16")
    for name in (place, tmp_path / "first"):
        assert settled(["--run.dir", str(tmp_path), "--resume", str(name)]).name == "bf16"
    # Its own checkpoints count, if it was begun from that one.
    saved(tmp_path / "run", 2, precision="fp32", resume=str(place))
    assert settled(["--run.dir", str(tmp_path), "--resume", str(place)]).name == "fp32"
    assert settled(["--run.dir", str(tmp_path), "--resume", str(tmp_path / "first")]).name == "bf16"


def test_a_run_that_goes_on_from_the_hub_keeps_its_precision(tmp_path: Path, products: dict[str, float], monkeypatch) -> None:
    from codeparrot.hub import fetch

    monkeypatch.setattr(fetch, "pushed_settings", lambda name: {"train": {"precision": "bf16"}, "stream": {}})
    assert settled(["--run.dir", str(tmp_path), "--resume", "hub:me/run@main"]).name == "bf16"
