"""One corpus on an object store as a source a language: the windows and the positions of the same files here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codeparrot.config import StreamConfig
from codeparrot.stream import ConstantLengthDataset
from codeparrot.stream.balance import resolved
from tests.s3_server.fixture import S3Server, s3
from tests.stream.bytes_encoder import BytesEncoder
from tests.stream.test_by_language import corpus
from tests.stream.test_remote import places, put, take

__all__ = ["s3"]


def stream(place: object, order: Any) -> ConstantLengthDataset:
    train = {"path": str(place), "weights": {"python": 0.6, "rust": 0.3, "go": 0.1}}
    config = StreamConfig(train=train, seq_length=64, lanes=2, block_windows=16, order=order)
    return ConstantLengthDataset(config, BytesEncoder(), seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["windows", "documents"])
@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_languages_elsewhere_are_read_as_those_here_and_a_run_goes_on_where_its_data_have_moved(
    s3: S3Server, tmp_path: Path, form: str, order: Any
) -> None:
    here = corpus(tmp_path / "data", 200, form=form, group=20)
    there = put(s3, here)
    local, distant = stream(here, order), stream(there, order)
    np.testing.assert_array_equal(take(local, 40), take(distant, 40))
    assert places(local) == {**places(distant), "sources": places(local)["sources"]}
    moved, back = stream(there, order), stream(here, order)
    moved.load_state_dict(local.state_dict())
    back.load_state_dict(distant.state_dict())
    expected = take(local, 20)
    np.testing.assert_array_equal(expected, take(moved, 20))
    np.testing.assert_array_equal(expected, take(back, 20))


@pytest.mark.slow
def test_balance_takes_the_bytes_that_a_corpus_elsewhere_states(s3: S3Server, tmp_path: Path) -> None:
    here = corpus(tmp_path / "data")
    stated = {"python": {"bytes": 3000}, "rust": {"bytes": 1000}, "go": {"bytes": 0}}
    (here / "statistics.json").write_text(json.dumps({"languages": stated}))
    trains: list[Any] = [{"path": str(place), "balance": 1.0} for place in (here, put(s3, here))]
    found: list[Any] = [resolved(StreamConfig(train=[each], seq_length=64, lanes=2)).train for each in trains]
    weights = [each[0]["weights"] for each in found]
    assert weights[0] == weights[1] and weights[0]["python"] == pytest.approx(3 * weights[0]["rust"], rel=1e-3)
