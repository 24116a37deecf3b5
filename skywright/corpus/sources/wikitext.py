"""From wikitext to the text of an article.

Kept: prose, headings that have text below them, lists, the labels of links, and sign by sign
formulas (as `$...$`) and preformatted text. Dropped: templates (but for the few that only wrap
words), tables, pictures with their captions, references, categories, comments. Nothing is expanded:
what a template or a module would have written is not there.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cache
from html.entities import html5

from skywright.corpus.hanzi import is_traditional

MAX_DEPTH = 40
"""Links, templates and tables may nest so deep; MediaWiki itself gives up at 40 templates
(`$wgMaxTemplateDepth`). Marks beyond stay in the text as they stand."""

_TOKEN = re.compile(
    r"<!--|\{\{\{(?!\{)|\{\{|\}\}|\[\[|\]\]|-\{(?!\{)|\}-|^[ :]*\{\||^[ ]*\|\}|\||"
    r"<(/?)([A-Za-z][A-Za-z0-9]*)\b[^<>]*?(/?)>",
    re.MULTILINE,
)
_CLOSES = {"}}": "{{", "]]": "[[", "}-": "-{", "|}": "{|"}
_DROPPED = frozenset(
    [
        "ref",
        "references",
        "gallery",
        "timeline",
        "score",
        "imagemap",
        "graph",
        "templatedata",
        "mapframe",
        "maplink",
        "categorytree",
        "inputbox",
        "hiero",
        "chem",
        "ce",
        "poem_meta",
        "indicator",
        "section",
        "table",
    ]
)
_CODE = frozenset(["syntaxhighlight", "source"])  # even entities stand as they are
_VERBATIM = _CODE | {"nowiki", "pre", "math"}
_NO_PAGE = frozenset(
    [
        "file",
        "image",
        "media",
        "category",
        "文件",
        "檔案",
        "档案",
        "图像",
        "圖像",
        "媒体",
        "媒體",
        "分类",
        "分類",
        "f",
        "c",
    ]
)
_INTERWIKI = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*$")
# Templates that wrap words: the first of these arguments that is there is what the page shows. For
# zh these are the links to pages that do not exist yet, without which sentences would have holes;
# the words shown, when others than the title, come last: {{tsl|en|foreign|title|words}},
# {{le|title|foreign|words}}, {{link-en|title|foreign|words}}.
_WORDS: dict[str, tuple[int, ...]] = {
    "lang": (2,), "nowrap": (1,), "nobr": (1,), "tsl": (4, 3, 2), "le": (3, 1), "ill": (1,),
    "link": (3, 1), "jp": (1,), "zhwp": (1,), "small": (1,), "big": (1,),
}  # fmt: skip
_NUMBERED = re.compile(r"\s*(\d{1,2})\s*=")
_HANS = ("zh-hans", "zh-cn", "zh-sg", "zh-my", "zh")
_HANT = ("zh-hant", "zh-tw", "zh-hk", "zh-mo", "zh")
_FLAGS = re.compile(r"\s*([ATRDHN+;\- ]*|zh(?:-[a-z]+)?(?:;zh(?:-[a-z]+)?)*)\s*$")
_RULE = re.compile(r"\s*(zh(?:-[a-z]{1,8})?)\s*:")
_COMMENT_END = re.compile("-->")
_HOLE = re.compile("\0(\\d+)\0")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Bounded, so that brackets without an end cost no more than a look each.
_LINK = re.compile(r"\[(?:https?:|ftp:)?//[^\s\]]{0,2000}+[ \t]{0,9}+([^\]\n]{0,500}+)\]")


def plain_text(wikitext: str) -> str:
    """The text of an article, paragraphs and headings apart by empty lines.

    Of `-{zh-hans:..;zh-hant:..}-` the form that fits the script of the page is kept, whichever the
    page is written in more; rules that only define a conversion (`-{H|..}-`) write nothing. NUL
    goes, as in MediaWiki's parser: here it marks the places of what must not be touched.
    """
    variants = _HANT if is_traditional(wikitext) else _HANS
    flat = _Flat(wikitext.replace("\0", ""), variants)
    return _HOLE.sub(lambda hole: flat.held[int(hole.group(1))], _lines(flat.text()))


@cache
def _ending(name: str) -> re.Pattern[str]:
    """`</name>`: in any case, as tags are. (A lower-cased copy of the text would not do to search
    in: `İ` becomes two characters there, and what follows stands elsewhere.)
    """
    return re.compile(rf"</{name}\s{{0,20}}>", re.IGNORECASE | re.ASCII)


def _unescape(text: str) -> str:
    """Entities as characters, where a semicolon ends them: the `&copy` of `?a=1&copy=2` is none."""
    return _ENTITY.sub(
        lambda e: html.unescape(e[0]) if e[0][1] == "#" else html5.get(e[0][1:], e[0]), text
    )


class _Flat:
    """Wikitext without its nesting marks: one pass with a stack of what is open."""

    def __init__(self, wikitext: str, variants: tuple[str, ...]) -> None:
        self._source = wikitext
        self._variants = variants
        self._stack: list[tuple[str, list[str]]] = [("", [])]
        self._open = dict.fromkeys((*_CLOSES.values(), "{{{"), 0)
        self._endless: set[re.Pattern[str]] = set()  # ends that are known not to come any more
        self.held: list[str] = []  # texts of the holes that `text` has
        self._made: dict[str, Callable[[list[str]], str]] = {
            "{{": self._template, "[[": self._link, "-{": self._variant, "{|": lambda parts: "",
            "{{{": self._parameter,
        }  # fmt: skip

    def text(self) -> str:
        at, source = 0, self._source
        while found := _TOKEN.search(source, at):
            self._put(source[at : found.start()])
            at = found.end()
            mark = found.group()
            if mark == "<!--":
                end = self._end(_COMMENT_END, at)
                at = end.end() if end else at
            elif found.group(2):
                at = self._tag(found, at)
            elif mark == "}}":
                at = self._braces(at)
            elif mark == "|":
                self._stack[-1][1].append("|")
            else:
                self._mark(mark)
        self._put(source[at:])
        while len(self._stack) > 1:
            self._give_up()
        return "".join(self._stack[0][1])

    def _put(self, text: str) -> None:
        if text:
            self._stack[-1][1].append(text)

    def _end(self, ending: re.Pattern[str], at: int) -> re.Match[str] | None:
        """The next `ending`; what has been missed once is not looked for again, so that marks
        without an end cost one look.
        """
        found = None if ending in self._endless else ending.search(self._source, at)
        if found is None:
            self._endless.add(ending)
        return found

    def _mark(self, mark: str) -> None:
        bare = mark.strip(" :")
        opener = _CLOSES.get(bare)
        if opener is None:
            if len(self._stack) <= MAX_DEPTH:
                self._stack.append((bare, []))
                self._open[bare] += 1
            else:
                self._put(mark)
        elif self._open[opener]:
            self._close(opener)
        else:
            self._put(mark)

    def _close(self, opener: str) -> None:
        while self._stack[-1][0] != opener:
            self._give_up()
        _, parts = self._stack.pop()
        self._open[opener] -= 1
        self._put(self._made[opener](parts))

    def _braces(self, at: int) -> int:
        """Close what `}}` before `at` closes: a template, or with one more brace a parameter."""
        kinds = [kind for kind, _ in self._stack]
        last = max((n for n, kind in enumerate(kinds) if kind in ("{{", "{{{")), default=0)
        if kinds[last] == "{{{":
            if self._source.startswith("}", at):
                self._close("{{{")
                return at + 1
            # Three braces that only two end are a template behind a brace.
            self._stack[last - 1][1].append("{")
            self._stack[last] = ("{{", self._stack[last][1])
            self._open["{{{"] -= 1
            self._open["{{"] += 1
        self._mark("}}")
        return at

    def _give_up(self) -> None:
        """Something has no end: its text stays, the mark goes."""
        kind, parts = self._stack.pop()
        self._open[kind] -= 1
        self._stack[-1][1].extend(parts)

    def _tag(self, found: re.Match[str], at: int) -> int:
        closing, name, alone = found.group(1), found.group(2).lower(), found.group(3)
        if name in ("br", "hr") or (name in ("p", "div", "li", "blockquote", "dd", "dt")):
            self._put("\n")
        if closing or alone or name not in _DROPPED | _VERBATIM:
            return at
        end = self._end(_ending(name), at)
        if end is None:
            return at
        if name in _VERBATIM:
            self._hold(name, self._source[at : end.start()])
        return end.end()

    def _hold(self, name: str, inside: str) -> None:
        """Put a hole, and keep what fills it after everything else is done."""
        inside = inside if name in _CODE else _unescape(inside)
        inside = inside.strip() if name == "math" else inside.strip("\n")
        if inside:
            self._put(f"\0{len(self.held)}\0")
            self.held.append(f"${inside}$" if name == "math" else inside)

    @staticmethod
    def _arguments(parts: list[str]) -> list[str]:
        arguments, last = [], ""
        for part in parts:
            if part == "|":
                arguments.append(last)
                last = ""
            else:
                last += part
        return [*arguments, last]

    def _template(self, parts: list[str]) -> str:
        name, *arguments = self._arguments(parts)
        name = name.strip().lower()
        wanted = _WORDS.get(name) or _WORDS.get(name.partition("-")[0], ())
        if name.startswith("lang-"):
            wanted = (1,)
        shown = {str(i): a for i, a in enumerate((a for a in arguments if "=" not in a), start=1)}
        for argument in arguments:
            numbered = _NUMBERED.match(argument)
            if numbered:
                shown[numbered.group(1)] = argument[numbered.end() :]
        words = (shown.get(str(number), "").strip() for number in wanted)
        return next((text for text in words if text), "")

    def _parameter(self, parts: list[str]) -> str:
        """What a page shows of `{{{name|default}}}` that nobody has filled."""
        return "".join(self._arguments(parts)[1:2])

    def _link(self, parts: list[str]) -> str:
        target, *labels = self._arguments(parts)
        prefix, colon, _ = target.partition(":")
        prefix = prefix.strip().lower()
        if colon and (prefix in _NO_PAGE or (not labels and _INTERWIKI.match(prefix))):
            return ""
        return labels[-1] if labels else target.removeprefix(":")

    def _variant(self, parts: list[str]) -> str:
        text = "".join(parts)
        flags, bar, rest = text.partition("|")
        if bar and len(flags) < 40 and _FLAGS.match(flags):
            if set(flags) & set("HT-D") and not flags.strip().startswith("zh"):
                return ""
            text = rest
            if "R" in flags:
                return text
        forms: dict[str, str] = {}
        last = ""
        for part in text.split(";"):
            rule = _RULE.match(part.rpartition("=>")[2])
            if rule:
                last = rule.group(1)
                forms[last] = part.rpartition("=>")[2][rule.end() :].strip()
            elif last and part.strip():  # a semicolon inside a form
                forms[last] += ";" + part
        if not forms:
            return text
        return next((forms[v] for v in self._variants if v in forms), next(iter(forms.values())))


def _lines(text: str) -> str:
    """Headings, lists, quotes and external links as plain lines."""
    text = _LINK.sub(r"\1", text)
    text = _unescape(re.sub(r"__[A-Z]{3,}__", "", re.sub(r"'{2,5}", "", text)))
    lines: list[str] = []
    headings: list[tuple[int, str]] = []  # those that wait for a text below them
    for line in text.split("\n"):
        line = line.strip()
        title = line.strip("=")
        level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")))
        if title.strip() and level:
            headings = [item for item in headings if item[0] < level]
            headings.append((level, title.strip()))
            continue
        line = line.lstrip("*#:;").strip()
        if not line.strip("-|"):
            line = ""
        if line and headings:
            for _, title in headings:
                lines += ["", title, ""]
            headings = []
        if line or (lines and lines[-1]):
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
