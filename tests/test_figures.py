import pytest

from codeparrot.figures import count_in_words, make, png, save, size_in_words


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (4e12, "4 TB")]
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert size_in_words(size) == words


def test_numbers_in_words() -> None:
    assert [count_in_words(number) for number in (0, 950, 1500, 2e6, 3e9)] == ["0", "950", "1.5k", "2M", "3B"]


def test_a_picture_is_the_same_in_memory_and_in_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("figures")
    figure, (axes,) = make((4, 3))
    axes.plot([1, 2], [3, 4])
    save(figure, folder / "a.png")
    assert (folder / "a.png").read_bytes() == png(figure)
    assert [file.name for file in folder.iterdir()] == ["a.png"]
