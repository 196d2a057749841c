import importlib.metadata
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.licenses.names import FAMILIES, REFERENCE, SPELLINGS, parse
from codeparrot.corpus.licenses.rules import (
    PERMISSIVE,
    LicenseSettings,
    declared_inside,
    license_of_file,
    removes,
    repository,
    rules,
    spdx,
)
from codeparrot.corpus.licenses.texts import detect
from codeparrot.corpus.sources.license_files import license_of_files
from codeparrot.errors import CodeparrotError

PUBLISHED = LicenseSettings(unknown="remove")


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("mit", "MIT"),
        ("The MIT License (MIT)", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache Software License", "Apache"),
        ("BSD License", "BSD"),
        ("BSD 3-Clause License", "BSD-3-Clause"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("gpl-3.0+", "GPL-3.0-or-later"),
        ("GPLv3", "GPL-3.0-only"),
        ("GNU General Public License v2 or later (GPLv2+)", "GPL-2.0-or-later"),
        ("GNU Lesser General Public License v3 (LGPLv3)", "LGPL-3.0-only"),
        ("GNU Library or Lesser General Public License (LGPL)", "LGPL"),
        ("GNU Affero General Public License v3", "AGPL-3.0-only"),
        ("Historical Permission Notice and Disclaimer (HPND)", "HPND"),
        ("Apache-2.0+", "Apache-2.0+"),
        ("MIT OR Apache-2.0", "Apache-2.0 OR MIT"),
        ("MIT License OR GPL v2 or later", "LicenseRef-MIT-License-OR-GPL-v2-or-later"),
        ("MIT/Apache-2.0", "Apache-2.0 OR MIT"),
        ("mit, bsd-3-clause, MIT", "BSD-3-Clause AND MIT"),
        ("(MIT or ISC) and (ISC or MIT)", "ISC OR MIT"),
        ("MIT AND (BSD-3-Clause OR ISC)", "(BSD-3-Clause OR ISC) AND MIT"),
        ("apache-2.0 with llvm-exception", "Apache-2.0 WITH LLVM-exception"),
        ("NVIDIA Proprietary Software", "LicenseRef-NVIDIA-Proprietary-Software"),
        ("MIT AND Foo EULA 2", "LicenseRef-MIT-AND-Foo-EULA-2"),
        ("LicenseRef-Foo OR MIT", "LicenseRef-Foo OR MIT"),
        ("((((", "LicenseRef-Other"),
        (" AND ".join(PERMISSIVE), " AND ".join(sorted(PERMISSIVE))),
        ("", "unknown"),
        (" UNKNOWN ", "unknown"),
        ("NOASSERTION", "unknown"),
    ],
)
def test_declarations_become_spdx_expressions(declared: str, expected: str) -> None:
    assert spdx(declared) == expected


@given(
    st.text()
    | st.lists(st.sampled_from([*SPELLINGS, *FAMILIES, "(", ")", "AND", "or", "with", ",", "/", "+", "foo"])).map(" ".join)
)
def test_any_declaration_has_one_spelling(declared: str) -> None:
    name = spdx(declared)
    assert name == "unknown" or parse(name)
    assert spdx(name) == name


def test_every_name_in_the_tables_is_an_identifier_or_a_family() -> None:
    from license_expression import get_spdx_licensing

    known = {*get_spdx_licensing().known_symbols, *FAMILIES}
    assert {name for name in (*SPELLINGS, *PERMISSIVE) if not name.startswith(REFERENCE)} <= known
    assert all(spdx(name) == name for name in (*SPELLINGS, *PERMISSIVE))


def license_files() -> list[tuple[str, str, str]]:
    """Return, for each installed licence file, the distribution, the licence it declares, and the text."""
    name_of_one = re.compile(r"dist-info/(licenses/)?LICEN[CS]E(\.txt|\.md|\.rst)?$")
    found = []
    for distribution in importlib.metadata.distributions():
        declared = spdx(str(distribution.metadata.json.get("license_expression", "")))
        files = [str(file) for file in distribution.files or () if name_of_one.search(str(file))]
        if len(files) == 1 and declared != "unknown" and " " not in declared:
            text = Path(str(distribution.locate_file(files[0]))).read_text("utf-8")
            found.append((distribution.metadata["Name"], declared, text))
    return found


def test_the_licence_files_of_installed_packages_are_recognised() -> None:
    files = license_files()
    assert len(files) >= 20
    found = {name: (declared, str(detect(text))) for name, declared, text in files}
    wrong = {name: each for name, each in found.items() if each[0] not in each[1].split(" AND ")}
    assert len(wrong) <= 0.05 * len(files), wrong
    more = {name: each for name, each in found.items() if each[0] != each[1]}
    # Some also hold the licences of software bundled with them.
    assert len(more) <= 0.15 * len(files), more


def test_every_text_of_the_library_is_recognised_as_itself() -> None:
    from identify.vendor.licenses import LICENSES

    assert {spdx(name): detect(text) for name, text in LICENSES} == {spdx(name): spdx(name) for name, _ in LICENSES}


def test_two_licences_in_one_text_are_both_found_in_any_layout() -> None:
    from identify.vendor.licenses import LICENSES

    texts = dict(LICENSES)
    both = f"This holds\n\n{texts['MIT']}\n\nand\n\n{texts['Apache-2.0'].upper()}".replace("\n", "\r\n# ")
    assert detect(both) == "Apache-2.0 AND MIT"
    assert detect("All rights reserved. Ask us for the terms.") is None
    assert detect("") is None


def test_the_whole_text_of_a_licence_in_the_metadata_is_recognised() -> None:
    from identify.vendor.licenses import LICENSES

    assert spdx(dict(LICENSES)["BSD-3-Clause"]) == "BSD-3-Clause"
    assert spdx("Do as we say. " * 100) == "LicenseRef-Other"


@pytest.mark.parametrize(
    ("license_name", "expected"),
    [
        ("MIT", None),
        ("BSD", None),
        ("Apache-2.0 WITH LLVM-exception", None),
        ("Apache-2.0+", None),
        ("GPL-3.0-only OR MIT", None),
        ("GPL-3.0-only AND MIT", "license"),
        ("(GPL-3.0-only OR MIT) AND BSD-3-Clause", None),
        ("(GPL-3.0-only AND MIT) OR MPL-2.0", "license"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "license"),
        ("GPL", "license"),
        ("LicenseRef-MIT-ish", "license"),
        ("something of our own", "license"),
        ("unknown", "license_unknown"),
    ],
)
def test_permissive_licences_are_kept(license_name: str, expected: str | None) -> None:
    assert removes(license_name, "owner/name", PUBLISHED) == expected


def test_files_without_a_licence_are_kept_unless_they_are_to_be_removed() -> None:
    assert removes("unknown", "name", LicenseSettings()) is None
    assert removes("proprietary", "name", LicenseSettings()) == "license"


def test_any_allows_every_licence_that_is_declared() -> None:
    settings = LicenseSettings(allow=("any",), unknown="remove")
    assert removes("proprietary", "name", settings) is None
    assert removes("", "name", settings) == "license_unknown"


def test_single_licences_can_be_allowed_beside_the_permissive_ones() -> None:
    settings = LicenseSettings(allow=("permissive", "MPL-2.0", "gpl-2.0 with classpath-exception-2.0"))
    assert removes("MPL-2.0 AND MIT", "name", settings) is None
    assert removes("GPL-2.0-only WITH Classpath-exception-2.0", "name", settings) is None
    assert removes("GPL-2.0-only", "name", settings) == "license"


def test_repositories_whose_owner_opted_out_are_removed_whatever_their_licence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("# asked us in May\nOwner/Name\n\nother  # too\n")
    settings = LicenseSettings(opt_out=str(tmp_path / "out"))
    assert removes("MIT", "owner/NAME", settings) == "opt_out"
    assert removes("GPL-3.0-only", "other", settings) == "opt_out"
    assert removes("MIT", "owner/name2", settings) is None


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Owner/Name", "owner/name"),
        ("https://github.com/Owner/Name", "owner/name"),
        ("http://www.github.com/owner/name.git", "owner/name"),
        ("https://user:secret@github.com/owner/name/tree/main?tab=readme", "owner/name"),
        ("github.com/owner/name/", "owner/name"),
        ("git@github.com:owner/name.git", "owner/name"),
        ("ssh://git@github.com:22/owner/name.git", "owner/name"),
        ("git+https://github.com/owner/name", "owner/name"),
        ("https://gitlab.com/group/below/name/-/blob/main/a.py", "group/below/name"),
        ("https://git.example.org/owner/name.git", "owner/name"),
        ("owner/name.git", "owner/name"),
        (" name ", "name"),
        ("https://github.com/owner", "https://github.com/owner"),
        ("github.com", "github.com"),
    ],
)
def test_a_repository_is_known_by_its_name_or_its_address(written: str, name: str) -> None:
    assert repository(written) == name
    assert repository(name) == name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_first_repository_of_an_opt_out_list_is_removed_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "out").write_bytes("https://github.com/Owner/Name\r\n# é\r\nother".encode(encoding))
    settings = LicenseSettings(opt_out=str(tmp_path / "out"))
    for name in ("owner/NAME", "other", "https://github.com/owner/name.git"):
        assert removes("MIT", name, settings) == "opt_out"


def test_the_marks_of_lists_that_were_joined_hide_no_repository(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"\xef\xbb\xbfa/b\n\xef\xbb\xbfc/d\n")
    assert removes("MIT", "c/d", LicenseSettings(opt_out=str(tmp_path / "out"))) == "opt_out"


def test_a_list_that_is_no_text_is_refused_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a/b\ncaf\xe9/c\n")
    with pytest.raises(CodeparrotError, match=r"licenses\.opt_out: .*out is not UTF-8: byte 7 is 0xe9, in line 2"):
        LicenseSettings(opt_out=str(tmp_path / "out")).check()


def test_the_rules_name_what_can_be_removed(tmp_path: Path) -> None:
    assert list(rules(LicenseSettings())) == ["license"]
    assert list(rules(LicenseSettings(unknown="remove", opt_out="file"))) == ["license", "license_unknown", "opt_out"]
    assert list(rules(LicenseSettings(allow=("any",)))) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("# SPDX-License-Identifier: MIT\n", "MIT"),
        ("#!/usr/bin/env python\n# Copyright\n# SPDX-License-Identifier: GPL-2.0-only OR MIT\n", "GPL-2.0-only OR MIT"),
        ("/* SPDX-License-Identifier: BSD-3-Clause */", "BSD-3-Clause"),
        ('"""What this does.\n\nSPDX-License-Identifier: ISC\n"""\n', "ISC"),
        ("# licence: MIT\n", None),
        ("LINE = re.compile('SPDX-License-Identifier: (.*)')\n", None),
        ("x = 1\n" * 1000 + "# SPDX-License-Identifier: MIT\n", None),
    ],
)
def test_a_file_may_say_its_licence_in_its_first_lines(content: str, expected: str | None) -> None:
    assert declared_inside(content) == expected


@pytest.mark.parametrize(
    ("repository", "own", "expected"),
    [
        ("unknown", "MIT", "MIT"),
        ("MIT", "GPL-3.0-only", "GPL-3.0-only AND MIT"),
        ("GPL-3.0-only", "MIT", "GPL-3.0-only AND MIT"),
        ("MIT OR GPL-3.0-only", "GPL-3.0-only", "GPL-3.0-only"),
        ("mit license", "MIT", "MIT"),
        ("MIT", "", "MIT"),
    ],
)
def test_a_file_narrows_what_its_repository_grants_and_never_widens_it(repository: str, own: str, expected: str) -> None:
    content = f"# SPDX-License-Identifier: {own}\n" if own else "x = 1\n"
    assert license_of_file(repository, content) == expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [(LicenseSettings(allow=("permisive",)), "permissive"), (LicenseSettings(opt_out="/no/such/file"), "/no/such/file")],
)
def test_impossible_settings_are_refused_with_the_remedy(settings: LicenseSettings, named: str) -> None:
    with pytest.raises(CodeparrotError, match=named):
        settings.check()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: GPL-2.0-only\n", "GPL-2.0-only AND MIT"),
        ("# SPDX-License-Identifier: MIT OR ISC\n#\n# SPDX-License-Identifier: Zlib\n", "(ISC OR MIT) AND Zlib"),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: MIT\n", "MIT"),
        ("# SPDX-License-Identifier: NOASSERTION\n# SPDX-License-Identifier: MIT\n", "MIT"),
        ("# SPDX-License-Identifier: NOASSERTION\n", "unknown"),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: Our EULA\n", "LicenseRef-Our-EULA AND MIT"),
        ("# SPDX-License-Identifier: MIT\n" + "x = 1\n" * 1000 + "# SPDX-License-Identifier: GPL-2.0-only\n", "MIT"),
    ],
)
def test_all_that_a_file_says_in_its_first_lines_holds_at_once(content: str, expected: str) -> None:
    assert declared_inside(content) == expected


@pytest.mark.parametrize("quotes", ['"""', "'''", 'r"""'])
def test_a_docstring_may_begin_with_the_licence(quotes: str) -> None:
    assert declared_inside(f"{quotes}SPDX-License-Identifier: GPL-3.0-only{quotes[-3:]}\nx = 1\n") == "GPL-3.0-only"


COMMONS = '"Commons Clause" License Condition v1.0\n\nThe Software is provided to you by the Licensor under the License ...\n\n'
NONCOMMERCIAL = "Creative Commons Attribution-NonCommercial 4.0 International Public License\n\nBy exercising the rights ...\n"


@pytest.mark.parametrize(
    ("restriction", "expected"),
    [(COMMONS, "LicenseRef-Commons-Clause"), (NONCOMMERCIAL, "LicenseRef-CC-NonCommercial")],
)
def test_a_licence_file_that_restricts_is_never_permissive(restriction: str, expected: str) -> None:
    from identify.vendor.licenses import LICENSES

    apache = dict(LICENSES)["Apache-2.0"]
    inside = license_of_files([(restriction + apache).encode()])
    beside = license_of_files([apache.encode(), restriction.encode()])
    assert inside == beside == f"Apache-2.0 AND {expected}"
    assert removes(inside, "name", LicenseSettings()) == "license"
    assert license_of_files([restriction.encode()]) == expected
    assert license_of_files([apache.encode(), b"All rights reserved."]) == "Apache-2.0"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_licence_file_is_read_in_whatever_encoding_it_says(encoding: str) -> None:
    from identify.vendor.licenses import LICENSES

    text = f"© José\n{dict(LICENSES)['Apache-2.0']}"
    assert license_of_files([text.encode(encoding, "replace")]) == "Apache-2.0"
