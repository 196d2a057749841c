"""Shared by the tests of several rooms: real Python sources, a tokenizer trained on them, and a Hub."""

import json
import os
import shutil
import signal
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.hub_server.fixture import HubServer, serve

SLOW_SECONDS = 2.0
"""A test that takes longer is marked slow: `make test-fast` leaves it out."""

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
END = "<|endoftext|>"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


class FailuresAtOnce:
    """Prints why a test failed when it has failed: the summary of a run that is cut short never comes."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})\n{report.longreprtext}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and terminal is not None:
        config.pluginmanager.register(FailuresAtOnce(terminal))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that are slow on this machine but not marked slow: a report, not a failure."""
    calls = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    found = [report for report in calls if report.duration > SLOW_SECONDS and "slow" not in report.keywords]
    if found:
        terminalreporter.section(f"took more than {SLOW_SECONDS:g} s and is not marked slow")
    for report in sorted(found, key=lambda report: -report.duration):
        terminalreporter.write_line(f"{report.duration:6.1f} s  {report.nodeid}")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Handle Ctrl-C as on a terminal: test workers and background jobs ignore it, and so would their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def python_sources(count: int, folder: str = "") -> list[str]:
    """Return the text of `count` modules of the standard library, in a fixed order."""
    files = sorted((STANDARD_LIBRARY / folder).glob("*.py"))[:count]
    return [file.read_text(encoding="utf-8") for file in files]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return python_sources(60)


@pytest.fixture(scope="session")
def tokenizer_json(texts: list[str]) -> str:
    """A byte-level BPE of 512 tokens, as tokenizer.json; `<|endoftext|>` is its only special token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def tokenizer_folder(tokenizer_json: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer in the transformers format."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END, "eos_token": END, "unk_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def with_end_at(tokenizer: Path, index: int, folder: Path) -> Path:
    """Write a tokenizer with the same tokens into `folder`, whose end of document has this id: a gap is before it."""
    shutil.copytree(tokenizer, folder)
    content = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["vocab"][END] = content["added_tokens"][0]["id"] = index
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def with_sentinels(tokenizer: Path, folder: Path) -> Path:
    """Write a tokenizer with the sentinels of fill-in-the-middle as its last tokens into `folder`."""
    from transformers import AutoTokenizer

    from codeparrot.stream.sentinels import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    loaded.add_special_tokens({"additional_special_tokens": [FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX]})
    loaded.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 240 documents in 3 training shards of small row groups, and 24 documents of validation."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    folder = tmp_path_factory.mktemp("corpus")
    sources = python_sources(150) + python_sources(114, "test")
    for name, part in {
        "train-00000-of-00003": sources[:90],
        "train-00001-of-00003": sources[90:170],
        "train-00002-of-00003": sources[170:240],
        "valid-00000-of-00001": sources[240:],
    }.items():
        table = pa.table({"path": [f"{name}/{i}.py" for i in range(len(part))], "content": part})
        parquet.write_table(table, folder / f"{name}.parquet", row_group_size=16)
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub for the tests of one module: each test makes its own repositories and switches its faults off again."""
    with serve(tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture
def here(hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """The Hub, for code that runs in this process; all of its faults are switched off after the test."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_TOKEN", hub.token)
    # The client retries at once instead of after a second or more.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    hub.forget_requests()
    yield hub
    hub.faults.clear()
    set_client_factory(default_client_factory)
