"""A report's forms: the same cells in each, and no word of a user's taken for markup."""

import base64
import csv
import io
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import ImageFile

from orchestrator.document import escaping, html, latex, markdown, pdf, tables, words
from orchestrator.document.paper import Names, Paper
from orchestrator.evidence.content import Bullets, Listing, Picture, Section, Table, Text

TROUBLE = st.text(st.sampled_from("a1 |\\*_`<>&$#%{}[]()~^-+.!\"'=±é\n\t"), max_size=12)
CELL = st.one_of(TROUBLE, st.text(max_size=12))
ROWS = st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
GFM = MarkdownIt("commonmark").enable("table")
SPECIAL = re.compile(r"[$&#%_^~<>|\"`]|\\(?![a-zA-Z{}$&#%_\\])")


class Cells(HTMLParser):
    """The texts of all cells, and the tags that were met."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self._inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self._inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def table_of(rows: list[tuple[str, ...]], strong: bool = False) -> Table:
    return Table(
        caption="Scores",
        columns=("a", "b", "c"),
        rows=tuple(rows),
        strong=frozenset(range(len(rows))) if strong else frozenset(),
    )


def cells_of(text: str) -> Cells:
    parser = Cells()
    parser.feed(text)
    parser.close()
    return parser


def plain(rows: list[tuple[str, ...]]) -> list[str]:
    return ["a", "b", "c", *(escaping.line(cell) for row in rows for cell in row)]


@PATIENT
@given(ROWS, st.booleans())
def test_html_gives_back_every_cell(rows: list[tuple[str, ...]], strong: bool) -> None:
    found = cells_of(tables.html(table_of(rows, strong)))
    assert found.cells == plain(rows)
    assert found.tags == {"figure", "figcaption", "div", "table", "thead", "tbody", "tr", "th", "td"}


@PATIENT
@given(ROWS)
def test_csv_gives_back_every_cell(rows: list[tuple[str, ...]]) -> None:
    read = csv.reader(io.StringIO(tables.csv(table_of(rows)), newline=""))
    assert [cell for row in read for cell in row] == plain(rows)


@PATIENT
@given(ROWS, st.booleans())
def test_markdown_gives_back_every_cell(rows: list[tuple[str, ...]], strong: bool) -> None:
    found = cells_of(GFM.render(tables.markdown(table_of(rows, strong))))
    assert found.cells == plain(rows)
    assert not found.tags & {"em", "code", "a", "img", "ul", "h1", "hr", "blockquote"}


@PATIENT
@given(CELL.map(escaping.line).filter(bool))
def test_markdown_takes_no_paragraph_for_anything_else(text: str) -> None:
    rendered = GFM.render(escaping.markdown(text))
    assert re.fullmatch(r"<p>.*</p>\n", rendered, re.DOTALL)
    assert escaping.line(rendered[3:-5]) == escaping.html(text).replace("&#x27;", "'")


@PATIENT
@given(ROWS, st.booleans())
def test_latex_leaves_no_sign_of_its_own_in_a_cell(rows: list[tuple[str, ...]], strong: bool) -> None:
    for row in rows:
        for cell in row:
            written = escaping.latex(cell)
            assert not SPECIAL.search(re.sub(r"\\[$&#%_{}]|\\ensuremath\{\^?\\?[a-z0-9-]+\}", "", written))
            assert not written.startswith(("[", "*"))
    text = tables.latex(table_of(rows, strong))
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    lines = body.strip().splitlines()[1:]
    assert len(lines) == len(rows)
    assert all(line.endswith(r"\\") for line in lines)
    assert all(len(re.findall(r"(?<!\\)&", line)) == 2 for line in lines)


def test_a_long_latex_table_may_break_across_pages() -> None:
    long = tables.latex(table_of([("x", "1", "2")] * 41))
    assert r"\begin{longtable}{lrr}" in long
    assert r"\begin{table}" not in long


def test_numbers_are_the_same_in_every_form() -> None:
    one = Table(
        caption="Paired difference", columns=("variant", "difference"), rows=(("sgd", "-0.012 ± 0.004"),)
    )
    assert "| sgd | -0.012 ± 0.004 |" in tables.markdown(one)
    assert r"sgd & \ensuremath{-}0.012 \ensuremath{\pm} 0.004 \\" in tables.latex(one)
    assert "sgd,-0.012 ± 0.004\n" in tables.csv(one)
    assert '<td>sgd</td><td class="number">-0.012 ± 0.004</td>' in tables.html(one)


def png(path: Path, width: int = 3, height: int = 2) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x7f" * width) * height)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return path


def a_paper(figures: Path) -> Paper:
    (figures / "inner").mkdir(parents=True)
    inner = Section(
        title="Loss & schedule",
        blocks=(
            Text("5 % <b> of_it"),
            Bullets(("one", "[two]")),
            Listing("python  -m x\n  --flag '```'"),
            Picture(file=png(figures / "inner" / "curve.png"), caption="A curve (of 3 trials)"),
            table_of([("x", "1", "2")]),
        ),
    )
    return Paper(
        title="Digits",
        facts=("24 trials",),
        notice="PARTIAL REPORT",
        sections=(Section(title="Method", blocks=(inner,)), Section(title="Method", blocks=())),
    )


def test_html_is_one_file_with_its_figures_inside(tmp_path: Path) -> None:
    paper = a_paper(tmp_path / "figures")
    page = html.page(paper)
    assert base64.b64encode(paper.pictures[0].file.read_bytes()).decode() in page
    assert not re.search(r"https?://|<script|<link|@import|src=\"(?!data:)", page)
    assert page.count("<style>") == 1
    assert 'role="note">PARTIAL REPORT' in page
    assert 'id="method"' in page
    assert 'id="method-2"' in page
    assert "5 % &lt;b&gt; of_it" in page
    assert "  --flag" in page


def test_markdown_and_latex_name_their_figures_beside_them(tmp_path: Path) -> None:
    paper = a_paper(tmp_path / "any")
    text, tex = markdown.page(paper, tmp_path / "any"), latex.page(paper, tmp_path / "any")
    assert "![Figure 1](figures/inner/curve.png)" in text
    assert "> **PARTIAL REPORT**" in text
    assert "````\npython  -m x\n  --flag '```'\n````" in text
    assert "{figures/inner/curve.png}" in tex
    assert r"\subsection{Loss \& schedule}" in tex
    assert tex.count(r"\begin{") == tex.count(r"\end{")


def test_pdf_has_pages(tmp_path: Path) -> None:
    content = pdf.page(html.page(a_paper(tmp_path / "figures")))
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "cut pictures would be taken for whole ones"


def test_names_are_given_once_and_never_empty() -> None:
    names = Names()
    assert [names.of("A b!"), names.of("a-b"), names.of("±")] == ["a-b", "a-b-2", "part"]


def test_own_words_are_read_by_their_headings(tmp_path: Path) -> None:
    (tmp_path / words.FILE).write_text(
        "<!-- hidden\n# too -->\nby me\n\n## introduction\nfirst\nline\n\n- a\n  b\n- c\n"
        "```\n# kept\n\n x\n```\n## Ethics ##\nwell\n## Method\n"
    )
    assert words.read(tmp_path) == {
        "": (Text("by me"),),
        "Introduction": (Text("first line"), Bullets(("a b", "c")), Listing("# kept\n\n x")),
        "Ethics": (Text("well"),),
    }
    assert words.own(words.read(tmp_path)) == ["Ethics"]


@pytest.mark.parametrize("text", ["```\nopen", "", "## \n", "#\n", "<!-- open"])
def test_own_words_may_be_unfinished(tmp_path: Path, text: str) -> None:
    (tmp_path / words.FILE).write_text(text)
    words.read(tmp_path)
