"""MediaWiki dumps, wikitext and LaTeX."""

from __future__ import annotations

import io
import json
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.corpus.records import Record
from skywright.corpus.sources import latex, wikitext
from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.mediawiki import read_mediawiki
from tests.corpus.pages import EN, ZH
from tests.corpus.sources.packing import PACK

HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="zh">\n'
    "  <siteinfo>\n    <sitename>W</sitename>\n"
    "    <base>https://zh.wikipedia.org/wiki/Wikipedia:%E9%A6%96%E9%A1%B5</base>\n  </siteinfo>\n"
)


def page(title: str, text: str, number: int = 1, ns: int = 0, redirect: str = "",
         model: str = "wikitext", date: str = "2024-05-01T00:00:00Z") -> str:  # fmt: skip
    moved = f'    <redirect title="{escape(redirect)}" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{ns}</ns>\n    <id>{number}</id>\n"
        f"{moved}    <revision>\n      <id>7</id>\n      <timestamp>{date}</timestamp>\n"
        f"      <model>{model}</model>\n      <format>text/x-wiki</format>\n"
        f'      <text bytes="{len(text)}" xml:space="preserve">{escape(text)}</text>\n'
        "    </revision>\n  </page>\n"
    )


def dump(pages: list[str]) -> bytes:
    return (HEAD + "".join(pages) + "</mediawiki>\n").encode()


def read(data: bytes, name: str = "s/a.xml", limit: int = 10**5) -> list[Record]:
    return list(read_mediawiki(Input(io.BytesIO(data)), name, limit))


PAGES = [
    page("A & B", f"{EN} <b>x</b> &nbsp;", 11),
    page("Talk:A", "no article", 12, ns=1),
    page("Old", "#REDIRECT [[A]]", 13, redirect="A & B"),
    page("数据", ZH, 14),
    page("Module", "return 1", 15, model="Scribunto"),
    page("Large", "x" * 200_000, 16),
]


@pytest.mark.parametrize("ending", [e for e in PACK if e != ".lz4"])
def test_articles_are_read_and_every_other_page_is_accounted_for(ending: str) -> None:
    records = read(PACK[ending](dump(PAGES)), f"s/a.xml{ending}")
    assert [record.rule for record in records] == [
        None, "namespace", "redirect", None, "model", "too_large",
    ]  # fmt: skip
    assert records[0].payload == f"{EN} <b>x</b> &nbsp;".encode()
    assert records[0].url == "https://zh.wikipedia.org/wiki/A_%26_B"
    assert json.loads(records[0].meta) == {"title": "A & B", "page_id": 11}
    assert records[3].url == "https://zh.wikipedia.org/wiki/%E6%95%B0%E6%8D%AE"
    assert records[0].date == "2024-05-01T00:00:00Z"
    assert {record.form for record in records if record.rule is None} == {"wikitext"}
    text = dump(PAGES)
    places = [f"s/a.xml{ending}:{'0+' if ending else ''}{text.find(p.strip().encode())}"
              for p in PAGES]  # fmt: skip
    assert [record.record for record in records] == places


def test_a_damaged_frame_costs_its_own_pages() -> None:
    frames = [PACK[".bz2"](p.encode()) for p in (HEAD, *PAGES[:2], PAGES[3], "</mediawiki>")]
    hurt = bytearray(frames[2])
    hurt[len(hurt) // 2] ^= 1
    records = read(b"".join([*frames[:2], bytes(hurt), *frames[3:]]), "s/a.xml.bz2")
    assert [record.rule for record in records] == [None, "corrupt", None]
    (*_, last) = read(dump(PAGES)[:-300_00], "s/a.xml")
    assert last.rule == "truncated"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_garbage_in_a_dump_ends_in_rows(junk: bytes, at: int) -> None:
    text = dump(PAGES[:4])
    at = 1 + at % (len(text) - 1)  # at 0 it could be the first bytes of a packed file
    records = read(text[:at] + junk + text[at:])
    assert len(records) >= 3
    assert len({record.record for record in records}) == len(records)


ARTICLE = """{{Infobox|name=x|y={{nested|a}}}}
'''计算机'''（-{zh-hans:计算机;zh-hant:電腦}-，
{{lang-en|computer}}）是[[机器|设备]]<!-- c --><ref>{{cite|x}}</ref>。
[[File:a.jpg|thumb|[[link]] caption]]
-{H|zh-cn:软件;zh-tw:軟體}-
== 历史 ==
=== 空 ===
=== 早期 ===
* 第一项[[甲]]
* 第二项 <math>a<b</math> {{link-en|图灵机|Turing machine}}
{| class="wikitable"
| a || b
|}
见[https://x.org 官网]。&nbsp;A&amp;B，<nowiki>[[原样]]</nowiki>
== 参考文献 ==
{{reflist}}
[[Category:电脑]]
[[en:Computer]]
"""


def test_wikitext_becomes_the_text_of_the_article() -> None:
    assert wikitext.plain_text(ARTICLE) == (
        "计算机（计算机，\ncomputer）是设备。\n\n历史\n\n早期\n\n第一项甲\n"
        "第二项 $a<b$ 图灵机\n\n见官网。\xa0A&B，[[原样]]"
    )


@pytest.mark.parametrize(
    ("markup", "simplified", "traditional"),
    [
        ("-{zh-hans:计算机;zh-hant:電腦}-", "计算机", "電腦"),
        ("-{zh-cn:软件; zh-tw:軟體; zh-hk:軟件}-", "软件", "軟體"),
        ("-{zh-tw:軟體}-", "軟體", "軟體"),
        ("-{不转换}-", "不转换", "不转换"),
        ("-{R|原文}-", "原文", "原文"),
        ("-{A|zh-cn:博客;zh-tw:部落格}-", "博客", "部落格"),
        ("-{H|zh-cn:博客;zh-tw:部落格}-", "", ""),
        ("-{T|zh-cn:题目;zh-tw:題目}-", "", ""),
        ("-{zh:甲; zh-hant:乙 & 丙;}-", "甲", "乙 & 丙"),
    ],
)
def test_the_form_that_fits_the_page_is_kept(
    markup: str, simplified: str, traditional: str
) -> None:
    assert wikitext.plain_text("这个国家的历史" + markup) == "这个国家的历史" + simplified
    assert wikitext.plain_text("這個國家的歷史" + markup) == "這個國家的歷史" + traditional


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        # İ has two characters in lower case: what follows it must not move.
        ("İstanbul<ref>a</ref>, b<REF name=c>d</Ref >.", "İstanbul, b."),
        ("İİİİ<nowiki>[[a]]</nowiki>b", "İİİİ[[a]]b"),
        # Quotes are apostrophes in formulas and code, # and * are no lists, margins are kept.
        ("<math>f''(x) &lt; g'''</math >", "$f''(x) < g'''$"),
        ("{{nowrap|<math>a=b</math>}} c", "$a=b$ c"),
        ("<math> </math>a", "a"),
        (
            "a\n<syntaxhighlight lang=py>\ndef f():\n    # ''no''\n    return '' + '&lt;'\n"
            "</syntaxhighlight>\nb",
            "a\ndef f():\n    # ''no''\n    return '' + '&lt;'\nb",
        ),
        ("<pre>\n* a\n\n\n\n  b &amp; c\n</pre>", "* a\n\n\n\n  b & c"),
        ("a\0b<nowiki>\0</nowiki>\x000\0", "ab0"),
        # Entities end in a semicolon; addresses do not hold them.
        (
            "http://a.b/?c=1&copy=2&para=3 &copy; &#x4e2d; &nosuch;",
            "http://a.b/?c=1&copy=2&para=3 © 中 &nosuch;",
        ),
        ("AT&T &notit; &amp;lt;", "AT&T &notit; &lt;"),
        # What a page shows, not the language, nor the title behind it.
        ("{{lang|en|1=a}}{{lang|en}}{{lang|fr|2=b=c}}", "b=c"),
        ("{{le|福|Foo|显示}}、{{tsl|en|Foo|福|显示}}、{{tsl|en|Foo|福}}", "显示、显示、福"),
        ("a<table><tr><td>b</td><td>c</td></tr></table>d", "ad"),
        # A parameter shows its default; braces are told apart from the inside.
        ("a {{{1|default}}} b{{{2}}}c {{{x|}}}", "a default bc"),
        ("{{lang|en|{{nowrap|x}}}} {{lang|en|{{{1|y}}}}} {{{1|{{nowrap|z}}}}}", "x y z"),
        ("{{{nowrap|a}} b}", "{a b}"),
    ],
)
def test_wikitext_is_read_sign_by_sign(markup: str, text: str) -> None:
    assert wikitext.plain_text(markup) == text


PAPER = r"""\documentclass[12pt]{article} % a comment
\usepackage{amsmath}
\newcommand{\R}{\mathbf{R}}
\title{On G\"odel's \emph{work}}
\author{A. Nobody}
\begin{document}
\maketitle
\begin{abstract}
We show~that 100\% of $x \in X$ are ``good''---see \cite{a,b} and Section \ref{s}.
\end{abstract}
\section{Intro\label{s}}
First line % hidden
continues here\footnote{A note.}.
\begin{equation}\label{e}
a = b % why
\end{equation}
\begin{figure}\includegraphics{x.png}\caption{gone}\end{figure}
\begin{itemize}
\item one
\item[(b)] two $a_1$
\end{itemize}
\begin{verbatim}
x = 1  % kept
  y
\end{verbatim}
Erd\H{o}s, na\"{\i}ve, \c{c}a, \textbf{bold \emph{and} slanted}, a price of \$5 \& more.
\end{document}
ignored
"""


def test_latex_becomes_text_and_formulas() -> None:
    assert latex.plain_text(PAPER) == (
        "On Gödel's work\n\n"
        "We show that 100% of $x \\in X$ are “good”—see and Section .\n\n"
        "Intro\n\n"
        "First line continues here (A note.).\n\n"
        "\\begin{equation} a = b \\end{equation}\n\n"
        "- one\n\n- (b) two $a_1$\n\n"
        "x = 1  % kept\n  y\n\n"
        "Erdős, naïve, ça, bold and slanted, a price of $5 & more."
    )


def test_a_part_without_a_preamble_is_read_whole() -> None:
    assert (
        latex.plain_text("Let $X$ be a set.\n\nThen\\\\ done.") == "Let $X$ be a set.\n\nThen done."
    )


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a\r\n\r\nb\r\nc $x\r\n\r\n5", "a\n\nb c $x\n\n5"),
        # A per cent sign, or a brace, that is none.
        (r"A\footnote{See \url{http://a/b%20c}.} d \verb|50%{| e", "A (See .) d 50%{ e"),
        (r"\lstinline[language=C]!x{y}! z", "x{y} z"),
        # What belongs to a command goes with it.
        (r"As in \citep[e.g.,][p. 3]{key} b", "As in b"),
        (r"\newcommand\foo[1]{bar #1} \newcommand{\f}[2][x]{bar} a", "a"),
        (r"\newcounter{a}\setcounter{a}{1}b \setlength\parskip{1pt}c", "b c"),
        (r"a \\[2pt] b \\* c \\ [1] d", "a b c [1] d"),
        (r"\vskip -3pt plus 1fil a\kern-.1em b \parindent=0pt c", "ab c"),
        (r"\begin{minipage}[t]{0.5\textwidth}a\end{minipage}", "a"),
        (r"\begin{CJK*}{UTF8}{gbsn}中文\end{CJK*}", "中文"),
        (r"hy\-phen", "hyphen"),
        # What has no end does not reach beyond the group, nor beyond the paragraph.
        (r"\section{Costs $5} a $x$ b", "Costs $5\n\na $x$ b"),
        ("a $x \\$ y\n \nz $5", "a $x $ y\n\nz $5"),
        ("a $$ b\n\n\\emph{c} $$d$$ \\[e", "a $$ b\n\nc $$d$$ \\[e"),
        (r"$a\\$ b $c$", r"$a\\$ b $c$"),
        # Environments inside their like; code as it is.
        (r"\begin{tabular}{c}\begin{tabular}{c}a\end{tabular}&b\end{tabular}c", "c"),
        (
            r"\begin{IEEEeqnarray}{l} a\end{IEEEeqnarray}",
            r"\begin{IEEEeqnarray}{l} a\end{IEEEeqnarray}",
        ),
        ("\\begin{verbatim}\n  int main ()\n\\end{verbatim}", "  int main ()"),
        (r"f () and (\ref{a}, \ref{b}) g", "f () and g"),
        # How a box looks is no text.
        (r"\raisebox{2pt}[1pt][0pt]{c} \parbox[t]{3cm}{d} \scalebox{.5}[2]{e}", "c d e"),
        (r"\resizebox{\textwidth}{!}{f} \fcolorbox{red}{blue}{g}\rule{1pt}{2pt}", "f g"),
        ("a \\iffalse b \\fill \\fi c", "a c"),
        # TeX sets no space between Han characters where a line ends.
        ("中文的\n一段，\n有 English\n词。", "中文的一段，有 English 词。"),
        # What a comment holds begins and ends nothing.
        (
            "% \\begin{document}\nx\n\\begin{document}\n100\\% a\n%\\end{document}\nb"
            "\\end{document}c",
            "100% a b",
        ),
        ("a\\\\% \\begin{document}\nb", "a b"),
        ("%\\title{Old}\n\\title{New}\n\\begin{document}a\\end{document}", "New\n\na"),
    ],
)
def test_latex_is_read_as_tex_reads_it(markup: str, text: str) -> None:
    assert latex.plain_text(markup) == text


@pytest.mark.parametrize(
    "part",
    [
        " ",
        "\n",
        "\\[",
        "$",
        "$$\n\n",
        "\\begin{table}",
        "\\verb|",
        "\\footnote{$",
        "\\iffalse",
        " (",
        "{",
    ],
)
def test_repeated_marks_without_an_end_cost_one_look_each(part: str) -> None:
    assert isinstance(latex.plain_text(part * 100_000), str)
    assert isinstance(wikitext.plain_text(part * 100_000), str)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="\\{}[]$%~ab \n&-|=<>'!:;/ref*#", max_size=300))
def test_any_text_is_read_and_plain_words_survive(text: str) -> None:
    for plain in (wikitext.plain_text, latex.plain_text):
        assert isinstance(plain(text), str)
        assert plain("only words 和汉字") == "only words 和汉字"
