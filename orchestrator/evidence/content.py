"""What evidence is made of: sections of paragraphs, tables and pictures, free of any page's language.

Who measures gives these back; `orchestrator.document` writes them as HTML, Markdown, LaTeX, CSV and PDF.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Text:
    """A paragraph; plain words, no markup."""

    words: str


@dataclass(frozen=True)
class Bullets:
    """A list, plain words each."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """Commands or other text that keeps its lines."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells that are already written as text, so that every form shows the same numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    """Sentences below it: what the columns say, what to be careful with."""
    words: int = 1
    """So many columns, the leftmost, hold words and stand at the left; the others hold numbers."""
    strong: frozenset[int] = frozenset()
    """Rows that stand out."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure on disk, as PNG."""

    file: Path
    caption: str
    """What is seen, and on which images; it also stands in for the picture where there are no pictures."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: "tuple[Block, ...]"


Block = Text | Bullets | Listing | Table | Picture | Section
