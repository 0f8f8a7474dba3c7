"""A report as a whole: what it is of, and its sections, before it is written in any form."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.evidence.content import Block, Picture, Section, Table, Text

MOST_LETTERS = 60


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A report; every form of it says the same."""

    title: str
    facts: tuple[str, ...]
    """Short lines below the title: which search, when, of which data."""
    sections: tuple[Section, ...]
    notice: str = ""
    """What a reader must know first: that the report is partial, and why."""
    opening: tuple[Block, ...] = ()
    """What stands before the first section."""

    @property
    def blocks(self) -> Iterator[Block]:
        """Every block but sections, in the order in which they are read."""
        yield from self.opening
        yield from inside(self.sections)

    @property
    def tables(self) -> list[Table]:
        return [block for block in self.blocks if isinstance(block, Table)]

    @property
    def pictures(self) -> list[Picture]:
        return [block for block in self.blocks if isinstance(block, Picture)]


def inside(blocks: Sequence[Block]) -> Iterator[Block]:
    """The blocks and what stands in their sections, without the sections themselves."""
    for block in blocks:
        if isinstance(block, Section):
            yield from inside(block.blocks)
        else:
            yield block


def section(title: str, *blocks: Block | str | None) -> Section:
    """A section of blocks; a string is a paragraph, and what is empty is left out."""
    return Section(
        title=title,
        blocks=tuple(Text(block) if isinstance(block, str) else block for block in blocks if block),
    )


class Names:
    """Names for files and anchors, made of words and each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of(self, words: str) -> str:
        """Lower-case letters, digits and hyphens; never empty."""
        plain = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:MOST_LETTERS].strip("-") or "part"
        name, count = plain, 1
        while name in self._given:
            count += 1
            name = f"{plain}-{count}"
        self._given.add(name)
        return name
