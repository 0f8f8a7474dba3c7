"""What an ablation changes: factors by name, with the values that are worth a comparison with a base's.

The built-in ones read the base: a value that is the base's already is no variant, and a factor that its model
does not have is left out, or refused where it was asked for by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.plan import parse_settings
from trainables.config import Scalar, TrialConfig, common_keys, option_keys
from trainables.errors import UsageError, unknown

DEFAULT = ("optimizer", "pooling", "dropout", "norm")
"""The four comparisons that courses ask for."""
DROPOUT = 0.3
"""Of the variant with dropout, where the base has none."""
OURS = ("seed", "folds", "fold", "patience")
"""What no factor may change: rows are paired by seed, on the same parts, and run to their last epoch."""
STRENGTHS = ("crop", "flip", "vertical_flip", "rotation", "translate", "color", "erasing")


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One thing that is changed."""

    name: str
    """As it was asked for."""
    key: str
    """The parameter of the configuration."""
    values: tuple[Scalar, ...]
    """Of the variants; the base's own is not among them."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Known:
    """Parameters that may stand for a factor, the first that the model has; and the values to compare."""

    keys: tuple[str, ...]
    values: Callable[[TrialConfig, str], tuple[Scalar, ...]]


def _others(*values: Scalar) -> Callable[[TrialConfig, str], tuple[Scalar, ...]]:
    """These values but the base's; one of them stands for timm's own choice, the first."""

    def of(base: TrialConfig, key: str) -> tuple[Scalar, ...]:
        now = base.params()[key]
        now = values[0] if now == "default" else now
        return tuple(value for value in values if value != now)

    return of


def _dropout(base: TrialConfig, _: str) -> tuple[Scalar, ...]:
    return (0.0,) if base.dropout else (DROPOUT,)


def _norm(base: TrialConfig, key: str) -> tuple[Scalar, ...]:
    return ("batch", "none") if base.params()[key] == "group" else _others("batch", "none")(base, key)


def _augment(base: TrialConfig, _: str) -> tuple[Scalar, ...]:
    """Without the values that come to the same: "standard" of no strength is "none"."""
    params = base.params()
    plain = not any(params[name] for name in STRENGTHS)
    now = "none" if base.augment == "standard" and plain else base.augment
    offered = ("none", "trivialaugment") if plain else ("none", "standard", "trivialaugment")
    return tuple(value for value in offered if value != now)


BUILT_IN: Mapping[str, _Known] = {
    "optimizer": _Known(("optimizer",), _others("adam", "sgd")),
    "pooling": _Known(("pooling", "global_pool"), _others("avg", "max")),
    "dropout": _Known(("dropout",), _dropout),
    "norm": _Known(("norm",), _norm),
    "init": _Known(("init",), _others("kaiming", "xavier", "orthogonal")),
    "augment": _Known(("augment",), _augment),
    "schedule": _Known(("schedule",), _others("cosine", "onecycle", "constant")),
}


def factors_of(texts: Sequence[str], base: TrialConfig) -> tuple[list[Factor], list[str]]:
    """The factors asked for, by default `DEFAULT`, and sentences on what was left out.

    A text is `optimizer,pooling`, built-in names, or `name=a,b,c`. Raises UsageError for a factor that is
    unknown, that the base's model does not have, or that leaves nothing to compare with the base.
    """
    wanted = [asked for text in texts for part in text.split() for asked in _parsed(part)]
    found: list[Factor] = []
    left_out: list[str] = []
    for name, values in wanted or [(name, ()) for name in DEFAULT]:
        factor = _given(name, values, base) if values else _built_in(name, base)
        if factor is None and wanted:
            raise _not_of_model(name, base)
        if factor is None:
            left_out.append(f"{base.model} has no {name} to choose: left out.")
        elif any(factor.key == other.key for other in found):
            raise UsageError(f"The factor {factor.key} is given twice.", fix="Name all its values once.")
        else:
            found.append(factor)
    if not found:
        raise _not_of_model(", ".join(DEFAULT), base)
    return found, [*left_out, *(note for factor in found for note in factor.notes)]


def _parsed(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Names with their values; a built-in one without. Raises UsageError."""
    name, equals, values = text.partition("=")
    if equals:
        listed = tuple(value for value in values.split(",") if value)
        if not name or not listed:
            raise UsageError(f"--factors {text!r} is not name=a,b,c.", fix="For example: lr=0.001,0.01")
        return [(name, listed)]
    names = [part for part in text.split(",") if part]
    for part in names:
        if part not in BUILT_IN:
            error = unknown("factor", part, BUILT_IN)
            raise UsageError(error.what, fix=f"{error.fix} Or give its values: {part}=a,b,c")
    return [(part, ()) for part in names]


def _built_in(name: str, base: TrialConfig) -> Factor | None:
    """None where the base's model has no such parameter."""
    known = BUILT_IN[name]
    key = next((key for key in known.keys if key in base.params()), None)
    if key is None:
        return None
    values = known.values(base, key)
    if not values:
        raise _nothing(name, base.params()[key])
    return Factor(name=name, key=key, values=values)


def _given(key: str, texts: Sequence[str], base: TrialConfig) -> Factor:
    """A factor whose values were given; those equal to the base's are said to be."""
    now, known = base.params(), common_keys() | option_keys(base.model)
    if key in OURS:
        raise UsageError(f"{key} is no factor of an ablation.", fix=f"Leave {key} out; see --seeds.")
    if key not in known:
        raise unknown(f"parameter for model {base.model!r}:", key, known)
    values = dict.fromkeys(parse_settings([f"{key}={text}"])[key] for text in texts)
    others = tuple(value for value in values if value != now[key])
    if not others:
        raise _nothing(key, now[key])
    equal = (f"{key}={now[key]} is the base itself.",) if len(others) < len(values) else ()
    return Factor(name=key, key=key, values=others, notes=equal)


def _nothing(name: str, value: Scalar) -> UsageError:
    return UsageError(
        f"The factor {name} is the base's {value} and nothing else: there is nothing to compare.",
        fix=f"Give other values: --factors {name}=a,b",
    )


def _not_of_model(name: str, base: TrialConfig) -> UsageError:
    known = [n for n, factor in BUILT_IN.items() if set(factor.keys) & set(base.params())]
    return UsageError(
        f"{base.model} has no {name} to choose.", fix=f"Factors of this model: {', '.join(known)}."
    )
