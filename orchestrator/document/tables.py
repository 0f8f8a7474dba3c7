"""A `content.Table` as Markdown, LaTeX, CSV and HTML: the same cells in each."""

import csv as _csv
import io
from collections.abc import Callable, Iterable, Sequence

from orchestrator.document import escaping
from orchestrator.evidence.content import Table

MANY = 8
"""Columns above which a printed page sets a table smaller."""
SHORT = 22
"""Rows up to which a printed table stays on one page."""
PAGE = 40
"""Rows from which on a LaTeX table may break across pages."""


def markdown(table: Table) -> str:
    """The caption in bold, a pipe table, and the notes below as a list; its stars keep a list that follows
    apart."""
    rows = [
        _cells(row, escaping.markdown, strong="**{}**" if i in table.strong else "{}")
        for i, row in _rows(table)
    ]
    heads = [escaping.markdown(name) or " " for name in table.columns]
    sides = [":--" if i < table.words else "--:" for i in range(len(heads))]
    lines = [_piped(heads), _piped(sides), *(_piped(row) for row in rows)]
    notes = [f"* {escaping.markdown(note)}" for note in table.notes]
    blocks = [
        f"**{escaping.markdown(table.caption)}**" if table.caption else "",
        "\n".join(lines),
        "\n".join(notes),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def latex(table: Table) -> str:
    """A floating table with booktabs' rules, no wider than the line; a longtable where it is long.

    It needs the packages booktabs, graphicx, longtable and textcomp.
    """
    heads = " & ".join(rf"\textbf{{{escaping.latex(name)}}}" for name in table.columns)
    rows = [
        " & ".join(_cells(row, escaping.latex, strong=r"\textbf{{{}}}" if i in table.strong else "{}"))
        for i, row in _rows(table)
    ]
    sides = "".join("l" if i < table.words else "r" for i in range(len(table.columns)))
    notes = "".join(f"\n{escaping.latex(note)}\\par" for note in table.notes)
    notes = f"\\par\\smallskip\n{{\\footnotesize\\raggedright{notes}}}" if notes else ""
    body = "\n".join(f"{row} \\\\" for row in rows)
    write = _long if len(rows) > PAGE else _floating
    return write(sides, f"{heads} \\\\", body, caption=escaping.latex(table.caption), notes=notes)


def csv(table: Table) -> str:
    """The columns and the rows, as RFC 4180 has it but with line feeds alone."""
    text = io.StringIO()
    writer = _csv.writer(text, lineterminator="\n")
    writer.writerows(_cells(row, escaping.line, strong="{}") for row in (table.columns, *table.rows))
    return text.getvalue()


def html(table: Table) -> str:
    """A `figure` of class `table`: its caption, the table, and the notes."""
    sizes = " many" * (len(table.columns) > MANY) + " short" * (len(table.rows) <= SHORT)
    parts = [f'<figure class="table{sizes}">']
    if table.caption:
        parts.append(f"<figcaption>{escaping.html(table.caption)}</figcaption>")
    parts.append('<div class="wide"><table>')
    parts.append(f"<thead>{_row(table, table.columns, 'th')}</thead>")
    parts.append("<tbody>")
    parts += [_row(table, row, "td", strong=i in table.strong) for i, row in _rows(table)]
    parts.append("</tbody></table></div>")
    parts += [f'<p class="note">{escaping.html(note)}</p>' for note in table.notes]
    return "\n".join((*parts, "</figure>")) + "\n"


def _rows(table: Table) -> Iterable[tuple[int, Sequence[str]]]:
    return enumerate(table.rows)


def _cells(row: Sequence[str], escape: Callable[[str], str], *, strong: str) -> list[str]:
    """The cells of a row in a page's language; `strong` is the form that sets them off."""
    written = [escape(cell) for cell in row]
    return [strong.format(cell) if cell else "" for cell in written]


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(table: Table, cells: Sequence[str], tag: str, *, strong: bool = False) -> str:
    sides = ["" if i < table.words else ' class="number"' for i in range(len(cells))]
    inside = "".join(
        f"<{tag}{side}>{escaping.html(cell)}</{tag}>" for side, cell in zip(sides, cells, strict=True)
    )
    return f'<tr class="strong">{inside}</tr>' if strong else f"<tr>{inside}</tr>"


def _floating(sides: str, heads: str, body: str, *, caption: str, notes: str) -> str:
    title = f"\\caption{{{caption}}}\n" if caption else ""
    return (
        f"\\begin{{table}}[htbp]\n\\centering\n{title}"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        f"\\begin{{tabular}}{{{sides}}}\n\\toprule\n{heads}\n\\midrule\n{body}\n\\bottomrule\n"
        f"\\end{{tabular}}}}{notes}\n\\end{{table}}\n"
    )


def _long(sides: str, heads: str, body: str, *, caption: str, notes: str) -> str:
    title = f"\\caption{{{caption}}}\\\\\n" if caption else ""
    return (
        f"{{\\footnotesize\\begin{{longtable}}{{{sides}}}\n{title}"
        f"\\toprule\n{heads}\n\\midrule\n\\endhead\n{body}\n\\bottomrule\n\\end{{longtable}}}}{notes}\n"
    )
