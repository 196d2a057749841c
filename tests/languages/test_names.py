"""Names of languages: each has one entry, and whatever people call it leads there."""

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.languages.names import LANGUAGES, canonical, language_named


def test_no_two_languages_share_a_name_or_an_alias() -> None:
    names = [alias for each in LANGUAGES.values() for alias in (each.name, *each.aliases)]
    assert len(names) == len(set(names)) and all(name == name.lower() for name in names)


@pytest.mark.parametrize("written", ["C++", "cpp", "CPP", "c++"])
def test_a_language_is_found_by_what_people_call_it(written: str) -> None:
    assert language_named(written).name == "c++"


def test_titles_of_linguist_lead_to_their_entries() -> None:
    assert all(canonical(each.title) == each.name for each in LANGUAGES.values())


def test_an_unknown_language_keeps_its_name_and_is_refused_where_it_must_be_known() -> None:
    assert canonical("Red Code") == "red-code"
    with pytest.raises(CodeparrotError, match="python"):
        language_named("pyhton")
