"""What a language looks like: its comments, what opens its functions, classes and loops, what its tests are called.

It covers the languages with the most bytes in The Stack, the programming languages and style sheets among its 30 largest, and
those that come with them. Patterns work on bytes and ask for the shape of code (`for (`, `fn name`), so that the words of
a licence at the top count for nothing. Each costs one search.

Python is not here: its rules are CodeParrot's own, which each filter keeps beside those by language.
"""

import re
from functools import cache
from typing import NamedTuple

PYTHON = "python"


class Syntax(NamedTuple):
    """What the rules need of a language. Where a field is empty, the rule that reads it does not apply to the language."""

    grammars: tuple[str, ...] = ()
    """Names in tree-sitter-language-pack. The first is the language's own; the others are dialects, tried where it fails."""
    comments: tuple[str, ...] = ()
    """Kinds of nodes of the grammars that are comments and documentation."""
    keywords: re.Pattern[bytes] | None = None
    """What opens a function, a class or another type, or a loop."""
    assignments: re.Pattern[bytes] | None = None
    """What gives a value to a name, or a name to a type where files of mere declarations are usual."""
    tests: re.Pattern[bytes] | None = None
    """What only unit tests say, in the idioms of the usual frameworks."""
    names: re.Pattern[str] | None = None
    """Paths of unit tests and of configuration that is written in the language."""
    inline_tests: bytes = b""
    """What stands before the tests of a file that also holds what they test."""
    max_error: float = 0.03
    """Largest share of the code that its grammar may fail on; a file with more is not in the language, or is damaged.

    Higher where grammars fail on sound files: on macros, on new syntax. 95 in 100 real files have less (docs/corpus.md)."""


def _bytes(*patterns: str) -> re.Pattern[bytes]:
    # A line may end in \r\n.
    ends = (f"{each[:-1]}\\r?$" if each.endswith("$") else each for each in patterns)
    return re.compile("|".join(ends).encode(), re.MULTILINE)


def _paths(*patterns: str) -> re.Pattern[str]:
    folders = r"(?:^|/)(?:tests?|__tests__|testing|specs?|t)/"
    return re.compile("|".join((folders, *patterns)))


_COMMENT = ("comment",)
_LINE_AND_BLOCK = ("line_comment", "block_comment")

_LOOP = r"\b(?:for(?:each)?|while)\s*\("
_BODY = r"\)[^;(){}=]{0,80}\{"
"""What follows the arguments of a function in languages with braces."""
_TYPE = r"^[ \t]*(?:[\w@()-]+[ \t]+){0,6}(?:%s)[ \t]+\w+"
"""A declaration with modifiers in front."""
_EQUALS = r"(?<![=!<>])=(?![=>])"
_MEMBER = r"^[ \t]+[\w\[\]'\"$-]+\??[ \t]*:[ \t]*[\w\[{('\"]"
_FIELD = r"^[ \t]*\w[\w:<>,*&\[\] \t]*[ \t*&][\w\[\]]+(?:\([^;{}()]*\))?[^;{}=()]{0,40};"
"""`int size;` and `int size(void);`"""
_SUITES = r"^[ \t]*(?:describe|context|it|test|suite)(?:\.\w+)?\s*\(\s*['\"`]"
_ANNOTATED = r"^[ \t]*@(?:Test|ParameterizedTest|RunWith|BeforeEach|BeforeClass|ExtendWith|SpringBootTest)\b"

_C_TESTS = _bytes(
    r"^[ \t]*(?:TEST|TEST_F|TEST_P|TEST_CASE|TYPED_TEST|BOOST_AUTO_TEST_CASE|BOOST_FIXTURE_TEST_CASE|START_TEST|SCENARIO)\s*\(",
    r"^[ \t]*#[ \t]*include[ \t]*[<\"](?:gtest|gmock|catch2|cmocka|CUnit|boost/test)/",
    r"^[ \t]*(?:QTEST_MAIN|QTEST_APPLESS_MAIN)\s*\(",
)
_C_NAMES = _paths(r"(?:^|[/_-])(?:test_[^/]*|[^/]*[_-](?:unit)?tests?)\.\w+$", r"(?:^|/)config(?:ure)?\.h$")
_C = Syntax(
    # The three share the names of headers.
    ("c", "cpp", "objc"),
    _COMMENT,
    _bytes(
        _LOOP,
        _BODY,
        r"\b(?:struct|union|enum|typedef|extern|class|namespace|using|concept)\b[ \t]+\w",
        r"\btemplate[ \t]*<",
        r"^@(?:interface|implementation|protocol)\b",
        r"^[ \t]*#[ \t]*define[ \t]+\w+\(",
    ),
    _bytes(_EQUALS, r"^[ \t]*#[ \t]*define[ \t]", _FIELD, r"^@property\b", r"^[-+][ \t]*\("),
    _C_TESTS,
    _C_NAMES,
    max_error=0.05,
)
_SCRIPT_NAMES = _paths(
    r"[._-](?:test|spec|e2e|cy)\.[cm]?[jt]sx?$",
    r"(?:^|/)(?:test|spec)\.[cm]?[jt]sx?$",
    r"(?:^|[/.])(?:config|rc|conf)\.[cm]?[jt]s$",
    r"(?:^|/)(?:[Gg]runtfile|gulpfile|karma\.conf|\.eslintrc|\.prettierrc|\.babelrc)\.[cm]?[jt]s$",
)
_SCRIPT_KEYWORDS = (_LOOP, _BODY, r"\bfunction\b[ \t*]*[\w$]*[ \t]*\(", r"=>", r"\bclass\b[ \t]+[\w$]+", r"\bclass[ \t]*\{")

SYNTAXES: dict[str, Syntax] = {
    "c": _C,
    "c++": _C._replace(grammars=("cpp", "c", "objc"), max_error=0.1),
    "objective-c": _C._replace(
        grammars=("objc", "cpp", "c"),
        tests=_bytes(r":[ \t]*XCTestCase\b", r"^[ \t]*(?:describe|context|it)\(@\"", r"#import <XCTest/"),
        names=_paths(r"(?:Tests?|Spec)\.m$"),
        max_error=0.1,
    ),
    "c#": Syntax(
        ("csharp",),
        _COMMENT,
        _bytes(_LOOP, _BODY, _TYPE % "class|struct|interface|enum|record|delegate|namespace"),
        _bytes(_EQUALS, r"=>", r"\bget\b", _FIELD),
        _bytes(r"^[ \t]*\[(?:Test|TestMethod|TestClass|TestFixture|TestCase|Fact|Theory|SetUp)\b"),
        _paths(r"Tests?\.cs$", r"(?:^|/)(?:AssemblyInfo|GlobalSuppressions)\.cs$"),
    ),
    "css": Syntax(("css", "scss"), max_error=0.1),
    "dart": Syntax(
        ("dart",),
        ("comment", "documentation_comment"),
        _bytes(_LOOP, _BODY, r"=>", r"^[ \t]*(?:\w+[ \t]+){0,3}(?:class|mixin|extension|enum|typedef)[ \t]+\w+"),
        _bytes(_EQUALS, r"=>", _FIELD, _MEMBER),
        _bytes(r"^[ \t]*(?:test|group|testWidgets)\s*\(\s*['\"]"),
        _paths(r"_test\.dart$"),
        max_error=0.05,
    ),
    "go": Syntax(
        ("go",),
        _COMMENT,
        _bytes(r"^func\b", r"^type[ \t(]", r"^[ \t]*(?:\w+:[ \t]*)?for\b.*\{$", r"\bfunc\("),
        _bytes(_EQUALS, r"\breturn\b", r"^\t+\w+[ \t]+[\w*\[\].]+[ \t]*(?:`.*`)?$"),
        _bytes(r"^func (?:Test|Benchmark|Fuzz|Example)\w*\((?:\w+ \*testing\.[TBFM])?\)"),
        _paths(r"_test\.go$", r"(?:^|/)testdata/"),
    ),
    "haskell": Syntax(
        ("haskell",),
        ("comment", "haddock"),
        _bytes(r"^[ \t]*(?:[\w']+|\([^\w\s]+\))(?:,[ \t]*[\w']+)*+\s*+::", r"^(?:data|newtype|type|class|instance)\b"),
        _bytes(_EQUALS, r"<-", r"::", r"->"),
        _bytes(r"^import\s+(?:qualified\s+)?Test\.", r"\b(?:hspec|testGroup|testCase|defaultMain tests)\b"),
        _paths(r"(?:Spec|Tests?)\.hs$", r"(?:^|/)Setup\.hs$"),
    ),
    "java": Syntax(
        ("java",),
        _LINE_AND_BLOCK,
        _bytes(_LOOP, _BODY, _TYPE % "class|interface|enum|record|@interface"),
        _bytes(_EQUALS, r"\breturn\b", _FIELD),
        _bytes(_ANNOTATED, r"\bextends[ \t]+\w*TestCase\b", r"^import (?:static )?(?:org\.junit|org\.testng|org\.mockito)\."),
        _paths(r"(?:Tests?|IT|TestCase)\.java$", r"(?:^|/)Test[A-Z]\w*\.java$"),
    ),
    "javascript": Syntax(
        ("javascript", "tsx"),
        ("comment", "html_comment"),
        _bytes(*_SCRIPT_KEYWORDS),
        _bytes(_EQUALS, r"=>", r"\breturn\b", _MEMBER),
        _bytes(_SUITES),
        _SCRIPT_NAMES,
    ),
    "julia": Syntax(
        ("julia",),
        _LINE_AND_BLOCK,
        _bytes(
            r"^[ \t]*(?:@\w+[ \t]+)?(?:function|macro|module|struct|mutable struct|abstract type|for|while)[ \t]+\w",
            r"^[ \t]*[\w.!]+\(.*\)[ \t]*=[^=]",
            r"->",
        ),
        _bytes(_EQUALS, r"::"),
        _bytes(r"^[ \t]*@test(?:set|_throws)?\b"),
        _paths(r"(?:^|/)runtests\.jl$"),
        max_error=0.05,
    ),
    "kotlin": Syntax(
        ("kotlin",),
        ("line_comment", "multiline_comment"),
        _bytes(_LOOP, r"\bfun\b[ \t]*[<(\w`]", r"\b(?:class|interface|object|typealias)\b[ \t]+\w"),
        _bytes(_EQUALS, r"^[ \t]*(?:\w+[ \t]+)*va[lr][ \t]", r"\bfun\b", r"\breturn\b"),
        _bytes(_ANNOTATED, r"^import (?:org\.junit|kotlin\.test|io\.kotest|io\.mockk)\b"),
        _paths(r"(?:Tests?|Spec|IT)\.kt$", r"\.gradle\.kts$"),
        max_error=0.08,
    ),
    "lua": Syntax(
        ("lua",),
        _COMMENT,
        _bytes(r"\bfunction\b[ \t]*[\w.:]*[ \t]*\(", r"^[ \t]*(?:for|while)\b.*\bdo\b", r"^[ \t]*repeat\b"),
        _bytes(_EQUALS),
        _bytes(_SUITES, r"^[ \t]*describe[ \t]+['\"]", r"require[ (]*['\"](?:luaunit|busted)"),
        _paths(r"(?:_spec|_test|^test_|/test_)[^/]*\.lua$", r"(?:^|/)(?:conf|config|rc)\.lua$"),
    ),
    "perl": Syntax(
        ("perl",),
        ("comment", "pod"),
        _bytes(r"\bsub\b[ \t]*(?:\w+|\{|\()", r"\b(?:for|foreach|while|until)\b[^;]{0,80}[({]"),
        _bytes(_EQUALS, r"=>", r"\breturn\b"),
        _bytes(r"^[ \t]*use[ \t]+Test2?::\w", r"^[ \t]*use[ \t]+Test(?:::|;)"),
        _paths(r"\.t$", r"(?:^|/)(?:Makefile|Build)\.PL$"),
    ),
    "php": Syntax(
        ("php",),
        _COMMENT,
        _bytes(_LOOP, r"\bfunction\b[ \t&]*\w*[ \t]*\(", r"\bfn[ \t]*\(", r"\b(?:class|interface|trait|enum)\b[ \t]+\w+"),
        _bytes(_EQUALS, r"=>", r"\breturn\b", r"\bfunction\b"),
        _bytes(r"\bextends[ \t]+\\?[\w\\]*TestCase\b", r"^use PHPUnit\\", r"@(?:test|dataProvider)\b", _SUITES),
        _paths(
            r"Test(?:Case)?\.php$",
            r"(?:^|/)(?:config|configs|conf|settings)/",
            r"(?:^|/)(?:wp-)?config[^/]*\.php$",
            r"/[Tt]ests?/",
        ),
    ),
    "powershell": Syntax(
        ("powershell",),
        _COMMENT,
        _bytes(
            r"(?i:^[ \t]*(?:function|filter|class|enum)[ \t]+\w)",
            r"(?i:\b(?:for|foreach|while)[ \t]*\()",
            r"(?i:\bforeach-object\b)",
        ),
        _bytes(r"(?<![=!<>])=(?!=)", r"(?i:^[ \t]*\[parameter)", r"\|"),
        _bytes(r"(?i:^[ \t]*(?:Describe|Context|It)[ \t]+['\"])"),
        _paths(r"(?i:\.tests?\.ps1$)", r"(?i:\.psd1$)"),
        max_error=0.1,
    ),
    "r": Syntax(
        ("r",),
        _COMMENT,
        _bytes(r"\bfunction[ \t]*\(", r"\b(?:for|while)[ \t]*\(", r"\brepeat\b[ \t]*\{", r"\\\("),
        _bytes(r"<-", _EQUALS, r"->"),
        _bytes(r"^[ \t]*(?:test_that|context|describe)[ \t]*\(", r"library\((?:testthat|RUnit|tinytest)\)"),
        _paths(r"(?:^|/)(?:test[-_.]|testthat)[^/]*\.[rR]$"),
        max_error=0.01,
    ),
    "ruby": Syntax(
        ("ruby",),
        _COMMENT,
        _bytes(
            r"^[ \t]*(?:def|class|module)[ \t]+[\w:<]",
            r"\bdo\b[ \t]*(?:\|[^|]*\|)?[ \t]*$",
            r"\b(?:while|until|for)\b[ \t]+\w",
            r"\{[ \t]*\|",
        ),
        _bytes(_EQUALS, r"=>", r"^[ \t]*(?:attr_\w+|def|alias|include|belongs_to|has_\w+|validates?)\b", r"\b\w+:[ \t]"),
        _bytes(
            r"^[ \t]*(?:RSpec\.)?(?:describe|context|it|specify|should)\b[ \t(]+(?:['\"]|[A-Z])",
            r"<[ \t]*(?:\w+::)*(?:TestCase|Test|IntegrationTest|Spec)\b$",
        ),
        _paths(
            r"(?:_spec|_test)\.rb$",
            r"(?:^|/)(?:test|spec)_\w+\.rb$",
            r"(?:^|/)config/",
            r"(?:^|/)(?:Rakefile|Gemfile|Guardfile)$",
            r"\.gemspec$",
        ),
    ),
    "rust": Syntax(
        ("rust",),
        _LINE_AND_BLOCK,
        _bytes(
            r"\bfn[ \t]+\w",
            r"\b(?:struct|enum|trait|union|mod|type)[ \t]+\w",
            r"^[ \t]*(?:unsafe[ \t]+)?impl\b",
            r"\bfor\b[^;\n]{0,200}\bin\b",
            r"\b(?:while|loop)\b.{0,200}\{",
            r"\bmacro_rules!",
        ),
        _bytes(_EQUALS, r"=>", r"->", r"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?\w+:[ \t]"),
        _bytes(r"^[ \t]*#\[(?:tokio::)?test\b"),
        _paths(r"(?:^|/)(?:tests?|benches)(?:/|\.rs$)", r"(?:^|/)build\.rs$", r"_tests?\.rs$"),
        inline_tests=b"#[cfg(test)]",
    ),
    "scala": Syntax(
        ("scala",),
        ("comment", "block_comment"),
        _bytes(_LOOP, r"\bdef[ \t]+\S", r"\b(?:class|object|trait|enum|given)[ \t]+\w", r"\bfor[ \t]*\{"),
        _bytes(_EQUALS, r"=>", r"<-", r"\bva[lr]\b"),
        _bytes(
            r"\bextends[ \t]+(?:\w+\.)*\w*(?:Spec|Suite|FunSuite|FlatSpec|WordSpec|Specification|Properties)(?:Like)?\b",
            r"^import (?:org\.scalatest|org\.specs2|munit|utest|zio\.test)\b",
            _ANNOTATED,
        ),
        _paths(r"(?:Spec|Tests?|Suite)\.scala$", r"(?:^|/)(?:build|plugins)\.s(?:bt|c)$"),
        max_error=0.06,
    ),
    "shell": Syntax(
        ("bash",),
        _COMMENT,
        _bytes(
            r"^[ \t]*(?:for|while|until|case|select|if)[ \t(\[]",
            r"^[ \t]*(?:function[ \t]+[\w:.-]+|[\w:.-]+[ \t]*\(\))",
            r"[;|&][ \t]*(?:for|while|until)[ \t]",
        ),
        _bytes(r"^[ \t]*(?:\w+[ \t]+)?\w+\+?=", r"\bread[ \t]+-?\w", r"\$\(", r"\$\{?\w", r"`"),
        _bytes(
            r"^[ \t]*@test[ \t]",
            r"^[ \t]*(?:\.|source)[ \t].*(?:shunit2|test-lib\.sh|testlib)",
            r"^[ \t]*(?:Describe|It)[ \t]+['\"]",
            r"^test_expect_success\b",
        ),
        _paths(
            r"(?:^|/)(?:test[-_][^/]*|[^/]*[-_]tests?)\.(?:sh|bash|zsh)$",
            r"\.bats$",
            r"(?:^|/)\.?(?:bashrc|zshrc|profile|bash_profile|config\.sh|env\.sh)$",
        ),
        max_error=0.05,
    ),
    "swift": Syntax(
        ("swift",),
        ("comment", "multiline_comment"),
        _bytes(
            r"\bfunc[ \t]+\S",
            r"\b(?:class|struct|enum|protocol|extension|actor|typealias)[ \t]+\w",
            r"\binit[?!]?[ \t]*[<(]",
            r"\bfor\b.{0,200}\bin\b",
            r"\bwhile\b.{0,200}\{",
        ),
        _bytes(_EQUALS, r"\b(?:let|var|case|func)\b", r"->", r"\breturn\b"),
        _bytes(r":[ \t]*(?:\w+\.)?XCTestCase\b", r"^import (?:XCTest|Quick|Nimble|Testing)\b", r"^[ \t]*@Test\b"),
        _paths(r"(?:Tests?|Spec)\.swift$", r"(?:^|/)[^/]*Tests/", r"(?:^|/)Package\.swift$"),
        max_error=0.05,
    ),
    "typescript": Syntax(
        ("typescript", "tsx"),
        ("comment", "html_comment"),
        _bytes(*_SCRIPT_KEYWORDS, _TYPE % "interface|enum|namespace|module|type|class", r"^type[ \t]+\w"),
        _bytes(_EQUALS, r"=>", r"\breturn\b", _MEMBER, r"^[ \t]+[\w.]+\??(?:\(.*\))?[ \t]*:"),
        _bytes(_SUITES),
        _SCRIPT_NAMES,
    ),
}
"""By the names of names.py. SQL and SCSS are left out: their grammars fail on a third of the bytes of real files, and what the
other rules ask for is foreign to them, as it is to CSS."""

LONG_LINED = frozenset("html json markdown restructuredtext roff roff-manpage smt svelte tex text vue xml".split())
"""Languages in which a paragraph or a value is one line: BigCode's list (StarCoder 2, section 3.1), with what is written like
HTML and Markdown."""


@cache
def syntax_of(language: str | None) -> Syntax:
    """Return the syntax of a language; all its fields are empty if it is not known here."""
    return SYNTAXES.get(language or "", Syntax())
