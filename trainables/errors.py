"""What can go wrong in front of a user: what, where and how to fix it, with an exit code."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial


class OrchestratorError(Exception):
    """A failure to show without a traceback; `fix` is the sentence that says what to do about it."""

    exit_code = 1

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross processes, and the keyword with them."""
        return partial(type(self), fix=self.fix), (self.what,)

    def __str__(self) -> str:
        return f"{self.what}\n{self.fix}" if self.fix else self.what


class DataError(OrchestratorError):
    """The data is there and cannot be used as it is."""


class UsageError(OrchestratorError):
    """The call is wrong: an unknown name, a bad value, data that is not where it was said to be."""

    exit_code = 2


class RuleViolation(UsageError):
    """A configuration breaks a rule of the competition."""


class InvalidSubmission(OrchestratorError):
    """A submission that the organisers would refuse."""

    exit_code = 3


class NoTrialSucceeded(OrchestratorError):
    """Every trial of the search failed."""

    exit_code = 4


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a mistyped name: it lists what is known, the nearest first."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:40]) + (f", ... ({len(names)} in all)" if len(names) > 40 else "")
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UsageError(f"Unknown {what} {name!r}.", fix=f"{hint}Known: {shown or 'none'}.")
