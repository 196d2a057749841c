"""The keywords of the largest languages: what a tokenizer should have as single tokens.

Reserved words of each language's reference, with contextual ones that are everywhere in its code. Names that libraries define
are left out. Of HTML and CSS the commonest tags and properties, since they have no keywords.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_C = """auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while"""
_JAVASCRIPT = """async await break case catch class const continue debugger default delete do else export extends false
finally for from function get if import in instanceof let new null of return set static super switch this throw true try typeof
undefined var void while with yield"""

KEYWORDS: dict[str, tuple[str, ...]] = {
    "c": _words(_C),
    "c#": _words(
        """abstract as async await base bool break byte case catch char checked class const continue decimal default
        delegate do double else enum event explicit extern false finally fixed float for foreach get goto if implicit
        in int interface internal is lock long namespace new null object operator out override params partial private
        protected public readonly record ref return sbyte sealed set short sizeof static string struct switch this
        throw true try typeof uint ulong using value var virtual void volatile where while yield"""
    ),
    "c++": _words(
        _C.replace("restrict", "")
        + """ alignas alignof and bool catch class concept consteval constexpr const_cast co_await co_return co_yield
        decltype delete dynamic_cast explicit export false final friend mutable namespace new noexcept not nullptr
        operator or override private protected public reinterpret_cast requires static_assert static_cast template
        this thread_local throw true try typeid typename using virtual"""
    ),
    "css": _words(
        """absolute auto background block border bottom color display flex font grid height hidden important inherit
        inline left margin media none opacity overflow padding position relative right solid top transition width"""
    ),
    "go": _words(
        """break case chan const continue default defer else fallthrough for func go goto if import interface map nil
        package range return select struct switch true false type var"""
    ),
    "haskell": _words(
        """case class data default deriving do else forall foreign if import in infix infixl infixr instance let module
        newtype of qualified then type where"""
    ),
    "html": _words(
        """a body button class div form h1 h2 h3 head href html id img input label li link meta nav ol option p script
        section select span src style table tbody td th title tr ul"""
    ),
    "java": _words(
        """abstract assert boolean break byte case catch char class const continue default do double else enum extends
        false final finally float for goto if implements import instanceof int interface long native new null package
        private protected public record return short static strictfp super switch synchronized this throw throws
        transient true try var void volatile while"""
    ),
    "javascript": _words(_JAVASCRIPT),
    "kotlin": _words(
        """abstract as break by class companion constructor continue data do else enum false final for fun if import in
        inline interface internal is it lateinit null object open operator out override package private protected
        public return sealed super suspend this throw true try typealias val var vararg when where while"""
    ),
    "lua": _words(
        "and break do else elseif end false for function goto if in local nil not or repeat return then true until while"
    ),
    "perl": _words(
        """and cmp continue do else elsif eq for foreach ge given gt if last le local lt my ne next no not or our package
        print redo require return say sub undef unless until use when while"""
    ),
    "php": _words(
        """abstract and array as break callable case catch class clone const continue declare default do echo else elseif
        empty endforeach endif enum extends final finally fn for foreach function global goto if implements include
        instanceof interface isset list match namespace new null or print private protected public readonly require
        require_once return self static switch throw trait true try unset use var while yield"""
    ),
    "python": _words(
        """False None True and as assert async await break case class continue def del elif else except finally for from
        global if import in is lambda match nonlocal not or pass raise return self try type while with yield"""
    ),
    "ruby": _words(
        """alias and begin break case class def defined do else elsif end ensure false for if in module next nil not or
        private protected public raise redo require rescue retry return self super then true undef unless until when
        while yield"""
    ),
    "rust": _words(
        """as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move
        mut pub ref return self Self static struct super trait true type unsafe use where while"""
    ),
    "scala": _words(
        """abstract case catch class def do else enum extends false final finally for given if implicit import lazy match
        new null object override package private protected return sealed super then this throw trait true try type val
        var while with yield"""
    ),
    "shell": _words(
        """break case continue do done elif else esac eval exit export fi for function if in local readonly return select
        set shift then trap unset until while"""
    ),
    "sql": _words(
        """ALTER AND AS BETWEEN BY CASE CREATE DEFAULT DELETE DISTINCT DROP ELSE END EXISTS FROM GROUP HAVING IN INDEX
        INNER INSERT INTO IS JOIN KEY LEFT LIKE LIMIT NOT NULL ON OR ORDER PRIMARY REFERENCES SELECT SET TABLE THEN
        UNION UPDATE VALUES WHEN WHERE"""
    ),
    "typescript": _words(
        _JAVASCRIPT
        + """ abstract any as boolean declare enum implements infer interface is keyof namespace never number private
        protected public readonly string type unknown"""
    ),
}
"""By the language's name in names.py."""
