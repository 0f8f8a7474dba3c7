"""A report as LaTeX, with its figures as files beside it. It compiles with pdfLaTeX, XeLaTeX and LuaLaTeX."""

from functools import singledispatch
from pathlib import Path

from orchestrator.document import escaping, tables
from orchestrator.document.paper import Paper
from orchestrator.evidence.content import Block, Bullets, Listing, Picture, Section, Table, Text

PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \usepackage[T1]{fontenc}
  \usepackage{lmodern}
\else
  \usepackage{fontspec}
\fi
\usepackage{textcomp}
\usepackage[margin=24mm]{geometry}
\usepackage[export]{adjustbox}
\usepackage{graphicx}
\usepackage{booktabs}
\usepackage{longtable}
\usepackage{float}
\usepackage[section]{placeins}
\usepackage[hidelinks]{hyperref}
\setlength{\emergencystretch}{3em}
"""
LEVELS = ("section", "subsection", "subsubsection", "paragraph")


def page(paper: Paper, figures: Path) -> str:
    """The whole file. Pictures lie in the folder `figures`, which comes to stand beside the file."""
    facts = r" \\ ".join(rf"{{\normalsize {escaping.latex(fact)}}}" for fact in paper.facts)
    title = escaping.latex(paper.title)
    parts = [
        f"{PREAMBLE}\\title{{{title}}}\n\\author{{{facts}}}\n\\date{{}}\n\\begin{{document}}\n\\maketitle",
        rf"\noindent\fbox{{\parbox{{0.97\linewidth}}{{\textbf{{{escaping.latex(paper.notice)}}}}}}}"
        if paper.notice
        else "",
        *(_block(block, 0, figures) for block in (*paper.opening, *paper.sections)),
        r"\end{document}",
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


@singledispatch
def _block(block: Block, level: int, figures: Path) -> str:
    raise TypeError(f"{type(block).__name__} is no block")


@_block.register
def _(block: Text, level: int, figures: Path) -> str:
    return escaping.latex(block.words)


@_block.register
def _(block: Bullets, level: int, figures: Path) -> str:
    items = "\n".join(rf"\item {escaping.latex(item)}" for item in block.items)
    return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}" if items else ""


@_block.register
def _(block: Listing, level: int, figures: Path) -> str:
    lines = [escaping.latex(line) for line in block.text.strip("\n").split("\n")]
    body = " \\\\\n".join(rf"\mbox{{}}{line}" for line in lines)
    return f"\\begin{{flushleft}}\\small\\ttfamily\n{body}\n\\end{{flushleft}}"


@_block.register
def _(block: Table, level: int, figures: Path) -> str:
    return tables.latex(block)


@_block.register
def _(block: Picture, level: int, figures: Path) -> str:
    place = f"figures/{block.file.relative_to(figures).as_posix()}"
    return (
        "\\begin{figure}[H]\n\\centering\n"
        f"\\includegraphics[max width=\\linewidth,max height=0.8\\textheight]{{{place}}}\n"
        f"\\caption{{{escaping.latex(block.caption)}}}\n\\end{{figure}}"
    )


@_block.register
def _(block: Section, level: int, figures: Path) -> str:
    command = LEVELS[min(level, len(LEVELS) - 1)]
    title = f"\\{command}{{{escaping.latex(block.title)}}}"
    return "\n\n".join((title, *(_block(inner, level + 1, figures).strip("\n") for inner in block.blocks)))
