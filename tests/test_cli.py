"""What every command does when something is wrong: one message, one exit code, no traceback."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from orchestrator import cli
from trainables.errors import (
    DataError,
    InvalidSubmission,
    NoTrialSucceeded,
    OrchestratorError,
    RuleViolation,
    UsageError,
    unknown,
)
from trainables.task import load_task

ROOT = Path(__file__).parents[1]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that raises `error`, with these arguments; its exit code, stdout and stderr."""
    monkeypatch.delenv("ORCH_DEBUG", raising=False)

    def run_with(error: BaseException | None, *arguments: str) -> tuple[int, str, str]:
        def command(
            task: cli.TaskName,
            trials: Annotated[int, typer.Option(min=1, help="At most so many trials.")] = 20,
            debug: cli.Debug = False,
        ) -> None:
            """Search models for a task."""
            if error is not None:
                raise error
            print(f"{task} {trials}")

        monkeypatch.setattr(sys, "argv", ["search", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.run_command(command, examples="search digits --trials 20")
        code = stop.value.code
        captured = capsys.readouterr()
        return code if isinstance(code, int) else 0, captured.out, captured.err

    return run_with


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (OrchestratorError, 1),
        (DataError, 1),
        (UsageError, 2),
        (RuleViolation, 2),
        (InvalidSubmission, 3),
        (NoTrialSucceeded, 4),
    ],
)
def test_each_error_has_its_exit_code_and_says_what_and_how_to_fix(
    run: Run, kind: type[OrchestratorError], code: int
) -> None:
    assert run(kind("The labels are upside down.", fix="Turn them."), "digits") == (
        code,
        "",
        "Error: The labels are upside down.\n       Turn them.\n",
    )


def test_a_command_that_works_exits_with_0(run: Run) -> None:
    assert run(None, "digits", "--trials", "3") == (0, "digits 3\n", "")


def test_an_error_without_a_fix_is_one_line(run: Run) -> None:
    assert run(DataError("No pictures."), "digits")[2] == "Error: No pictures.\n"


def test_brackets_in_a_message_are_shown_as_they_are(run: Run) -> None:
    assert "a[/b]c" in run(DataError("a[/b]c.png is cut off."), "digits")[2]


def test_an_error_of_the_program_itself_hides_its_traceback_and_says_how_to_see_it(run: Run) -> None:
    code, out, err = run(ZeroDivisionError("division by zero"), "digits")
    assert (code, out) == (1, "")
    assert err == "Error: ZeroDivisionError: division by zero\n       Run again with --debug.\n"


@pytest.mark.parametrize("error", [DataError("No pictures."), ZeroDivisionError("x"), OSError(5, "gone")])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(run: Run, error: Exception) -> None:
    code, _, err = run(error, "digits", "--debug")
    assert code == 1
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith(("Error:", "       "))


def test_debug_may_be_asked_for_in_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_DEBUG", "1")
    assert "Traceback" in run(DataError("No pictures."), "digits")[2]


def test_a_full_disk_is_said_with_the_file(run: Run) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/journal.jsonl")
    assert run(full, "digits") == (1, "", "Error: /runs/journal.jsonl: No space left on device\n")


def test_an_error_without_a_file_name_is_still_readable(run: Run) -> None:
    assert "No space left on device" in run(OSError(errno.ENOSPC, "No space left on device"), "digits")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digits", "--trails", "3"), "--trials"),
        (("digits", "--trials", "0"), "greater than or equal to 1"),
        (("digits", "--trials", "many"), "valid integer"),
        (("digits", "food11"), "unexpected extra argument"),
        (("--trials", "3"), "Missing argument"),
    ],
)
def test_a_wrong_call_exits_with_2_and_names_what_is_wrong(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run(None, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_options_defaults_and_examples(run: Run, flag: str) -> None:
    code, out, _ = run(None, flag)
    assert code == 0
    assert "--trials" in out
    assert "20" in out
    assert "search digits --trials 20" in " ".join(out.split())


def test_ctrl_c_exits_with_130(run: Run) -> None:
    code, out, err = run(KeyboardInterrupt(), "digits")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_as_ctrl_c_does_with_its_own_code(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    script = tmp_path / "command.py"
    script.write_text(
        "import time\n"
        "from orchestrator import cli\n"
        "def command(task: str) -> None:\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(30)\n"
        "    finally:\n"
        "        print('cleaned up')\n"
        "cli.run_command(command, examples='none')\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script), "digits"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, "cleaned up\n")
    assert "Traceback" not in err


def test_a_mistyped_name_gets_the_nearest_one_first() -> None:
    error = unknown("task", "fod11", ["food11", "digits"])
    assert error.what == "Unknown task 'fod11'."
    assert error.fix == "Did you mean 'food11'? Known: digits, food11."
    assert error.exit_code == 2


def test_a_name_like_none_of_them_gets_the_list_only() -> None:
    assert unknown("task", "zzz", ["food11", "digits"]).fix == "Known: digits, food11."
    assert unknown("task", "zzz", []).fix == "Known: none."


def test_a_long_list_of_names_is_cut() -> None:
    fix = unknown("model", "zzz", [f"model{i:03}" for i in range(100)]).fix
    assert fix.endswith("model039, ... (100 in all).")


def test_a_mistyped_task_is_answered_with_the_tasks_there_are() -> None:
    with pytest.raises(UsageError, match="Did you mean 'digits'"):
        load_task("digit")


@pytest.mark.parametrize("name", ["", "../digits", "digits.TASK", "__init__", "_hidden"])
def test_a_name_that_is_no_module_is_unknown_and_never_imported(name: str) -> None:
    with pytest.raises(UsageError, match="Unknown task"):
        load_task(name)


def test_help_takes_less_than_a_second_of_work() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "orchestrator.search", "--help"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
