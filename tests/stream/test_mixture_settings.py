"""What `stream.train` and `stream.phases` may say."""

import pytest

from codeparrot.checks import check
from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream.entries import places_of, sources_of
from codeparrot.stream.mixture import further_sets, weights_of


def test_names_lists_and_sources_are_read() -> None:
    assert [source.path for source in sources_of("a")] == [["a"]]
    assert [source.path for source in sources_of(["a", "b"])] == [["a", "b"]]
    train = [{"path": "data/python"}, {"path": ["hub:me/go@v1", "x"], "weight": 2, "epochs": 1.5, "valid": "v"}]
    python, go = sources_of(train)
    assert (python.name, python.weight, go.name, go.weight, go.epochs, go.valid) == ("python", 1, "go", 2, 1.5, ["v"])
    assert places_of(train) == ["data/python", "hub:me/go@v1", "x"]
    assert weights_of(train) == [1, 2] and weights_of("a") == weights_of([{"path": "a", "weight": 5}]) == [1]


TWO = [{"path": "a", "weight": 1}, {"path": "b", "weight": 3}]


@pytest.mark.parametrize(
    ("train", "phases", "message"),
    [
        ([{"path": "a"}, "b"], [], r"mixes sources and names; write b as \{path: b, weight: 1\}"),
        ([{"path": "a", "weiqht": 2}], [], r'there is no "weiqht" in .*; did you mean "weight"'),
        ([{"weight": 2}], [], "has no path"),
        ([{"path": 3}], [], "path is 3; it must be the name of documents"),
        ([{"path": "a", "valid": [1]}], [], r"valid is \[1\]; it must be the name"),
        ([{"path": "x/a"}, {"path": "y/a"}], [], 'two sources of the name "a"; give each a name'),
        ([{"path": "a", "name": "x/y"}], [], 'the name "x/y" of a is not a word'),
        ([{"path": "a", "weight": 0}, {"path": "b", "weight": 0}], [], "stream.train: the weights add up to 0"),
        ([{"path": "a", "weight": -1}], [], 'stream.train "a": weight is -1; it must be a number, 0 or more'),
        ([{"path": "a", "weight": "2"}], [], "weight is 2; it must be a number"),
        ([{"path": "a", "weight": True}], [], "weight is True; it must be a number"),
        ([{"path": "a", "epochs": -2}], [], "epochs is -2; it must be a number"),
        ("a", [{"until": 1}], "stream.phases needs sources with names"),
        (TWO, [{"until": 0.8, "weights": [0, 1]}], "stream.phases end at 0.8; the last one is until 1"),
        (TWO, [{"until": 0.8}, {"until": 0.5}, {"until": 1}], "until 0.5 does not come after 0.8"),
        (TWO, [{"until": 0}, {"until": 1}], "until 0 does not come after 0"),
        (TWO, [{"until": 800}, {"until": 1000}], "until is 800; it is a share of the run, from 0 to 1"),
        (TWO, [{"until": 0.0001}, {"until": 1}], "until 0.0001 has no step of the 1000; leave it out"),
        (TWO, [{"weights": [1, 1]}], "has no until"),
        (TWO, [{"until": 1, "weihgts": [1, 1]}], 'no "weihgts" in .*; did you mean "weights"'),
        (TWO, [{"until": 1, "weights": [1]}], "write one for each of the 2 sources"),
        (TWO, [{"until": 1, "weights": 3}], "weights is 3; write one for each"),
        (TWO, [{"until": 1, "weights": [0, 0]}], "until 1: the weights add up to 0"),
        (TWO, [{"until": 1, "weights": {"a": 1, "bb": 1}}], 'there is no source "bb"; did you mean "b"'),
        (TWO, [{"until": 1, "weights": {"a": 1}}], '"b" has no weight; name every source, with 0'),
        (TWO, [0.8, 1], "0.8 is not a phase"),
    ],
)
def test_what_cannot_be_a_mixture_is_refused_in_one_line(train, phases, message) -> None:
    config = Config(stream=StreamConfig(train=train, phases=phases))
    config.tokenizer.path = "t"
    with pytest.raises(CodeparrotError, match=message) as found:
        check(config)
    assert "\n" not in str(found.value)


def test_a_validation_set_of_a_source_has_a_name_of_its_own_and_stands_beside_that_of_the_run() -> None:
    config = Config(stream=StreamConfig(train=[{"path": "a", "valid": "v"}, {"path": "b"}]))
    config.tokenizer.path = "t"
    with pytest.raises(CodeparrotError, match=r'source "a" has valid, and stream\.valid is empty'):
        check(config)
    config.stream.valid = "w"
    check(config)
    assert [(name, each.setting, each.stream.valid) for name, each in further_sets(config).items()] == [
        ("a", 'stream.train "a": valid', ["v"])
    ]
    config.evaluate.also = {"a": "x"}
    with pytest.raises(CodeparrotError, match=r'evaluate\.also has a set of the name of a source with valid, "a"'):
        check(config)


@pytest.mark.parametrize("name", ["validation", "*.parquet"])
def test_the_name_of_a_source_with_valid_is_the_name_of_a_set(name) -> None:
    config = Config(stream=StreamConfig(train=[{"path": "a", "name": name, "valid": "v"}, {"path": "b"}], valid="w"))
    config.tokenizer.path = "t"
    with pytest.raises(CodeparrotError, match=r'a source with valid, ".*" is no name for a set'):
        check(config)
