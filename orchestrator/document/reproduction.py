"""How to come by the same results: commands, versions, seeds, commit, data, hardware and time."""

import shlex

from orchestrator import cli
from orchestrator.document.paper import section
from orchestrator.document.sources import Sources
from orchestrator.evidence.content import Block, Bullets, Listing, Section, Table
from orchestrator.snapshot import clock

MOST_REPLAYED = 5


def blocks(sources: Sources) -> list[Block]:
    """Commands, what they were run with, and on what."""
    return [_commands(sources), _circumstances(sources), _software(sources)]


def _commands(sources: Sources) -> Section:
    asked, folder = sources.asked, sources.folder
    name = shlex.quote(str(asked.get("source") or asked["task"]))
    out = folder.path.parent.parent
    where = "" if out == cli.DEFAULT_OUT.absolute() else f" --out {shlex.quote(str(out))}"
    search = f"--search {folder.search_id}{where}"
    replays = [
        f"python -m orchestrator.search {name} --replay {folder.search_id}/{trial.trial_id}{where}"
        for trial in sources.behind[:MOST_REPLAYED]
    ]
    submitted = [
        "# the same submission again from the stored weights",
        f"python -m orchestrator.submit {name} {search} --again",
    ]
    lines = [
        "# the search that this report is of",
        str(asked.get("command", "# the command was not recorded")),
        *(submitted if any(folder.path.glob("submission*")) else []),
        "# one trial trained again from its record, and whether it came out the same",
        *replays,
        "# the ensemble and this report again from the stored predictions",
        f"python -m orchestrator.ensemble {name} {search}",
        f"python -m orchestrator.report {name} {search}",
    ]
    return section(
        "Commands",
        Listing("\n".join(lines)),
        "How many trials a search bound by time starts depends on the machine; a trial and the submission "
        "are made again from what was recorded.",
    )


def _circumstances(sources: Sources) -> Section:
    asked, record = sources.asked, sources.record
    trials = list(record.trials.values())
    seeds = sorted({int(trial.params["seed"]) for trial in trials if "seed" in trial.params})
    devices = sorted({trial.device for trial in trials if trial.device})
    ended = max((trial.started + trial.seconds for trial in trials), default=0.0)
    known = {
        "Search": f"{sources.folder.search_id}, started {asked.get('started', 'at an unrecorded time')}",
        "Seed of the search": str(asked.get("seed", "not recorded")),
        "Seeds of the trials": _listed(seeds),
        "Commit": str(asked.get("commit", "not recorded")),
        "Data fingerprint": str(asked.get("fingerprint", "not recorded")),
        "Hardware": str(asked.get("host", "not recorded")),
        "Devices of the trials": ", ".join(devices) or "not recorded",
        "Time": f"{clock(ended)} from the first trial to the last, "
        f"{clock(sum(trial.seconds for trial in trials))} of trials",
    }
    return section("Circumstances", Bullets(tuple(f"{name}: {value}" for name, value in known.items())))


def _listed(seeds: list[int]) -> str:
    """Seeds, runs of them as a range."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs) or "none"


def _software(sources: Sources) -> Section:
    versions = sources.asked.get("versions") or {}
    if not versions:
        return section("Versions", "The versions of the software were not recorded.")
    table = Table(
        caption="Versions of the software",
        columns=("package", "version"),
        rows=tuple((str(name), str(version)) for name, version in versions.items()),
        words=2,
    )
    return section("Versions", table)
