"""The check of data as a user sees it: every odd picture named and explained or read rightly, none lost."""

import json
import os
import shutil
import socket
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from orchestrator.check import Checked, check, main, show
from tests.images import food11_folder, png
from tests.test_archives import made_zip
from tests.test_duplicates import scene
from trainables.errors import UsageError

OWN = b"bad_\xff.jpg"
"""A name that is no UTF-8."""


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(scene(301, 32), "JPEG", exif=exif)


def rotten() -> bytes:
    data = bytearray(encoded(scene(302, 32), "PNG"))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def chatty() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 900_000)
    return encoded(scene(303, 32), "PNG", pnginfo=text)


BAD = {
    "cut": (encoded(scene(300, 32), "JPEG")[:-40], "truncated"),
    "empty": (b"", "the file is empty"),
    "text": (b"Not found", "no image of a known format"),
    "html": (b"<!DOCTYPE html><html>404</html>", "HTML or XML text, no image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "HTML or XML text, no image"),
    "rot": (rotten(), "checksum"),
    "bomb": (png((20_000, 20_000, 8, 2), b""), "million pixels"),
    "nan": (encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "not numbers"),
}
GOOD = {
    "cmyk": encoded(scene(310, 32).convert("CMYK"), "JPEG"),
    "sixteen": encoded(
        Image.fromarray(np.asarray(scene(311, 32).convert("L")).astype(np.uint16) * 257), "PNG"
    ),
    "alpha": encoded(scene(312, 32).convert("RGBA"), "PNG"),
    "palette": encoded(scene(313, 32).convert("P"), "PNG"),
    "animated": encoded(scene(314, 32), "GIF", save_all=True, append_images=[scene(315, 32)]),
    "rotated": rotated(),
    "pixel": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
    "thin": encoded(scene(316).resize((600, 3)), "PNG"),
    "wrong_suffix": encoded(scene(317, 32), "WEBP"),
    "metadata": chatty(),
    "one_bit": encoded(scene(318, 32).convert("1"), "TIFF"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = food11_folder(tmp_path_factory.mktemp("whole") / "food11", train=4, valid=2, test=4, size=32)
    pictures = sorted(root.rglob("*.jpg"))
    for k, path in enumerate(pictures):
        scene(k, 32).save(path, quality=95)
    return root


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "food11")


def checked(data: Path) -> Checked:
    return check("food11", data, out=data.parent / "runs")


def about(found: Checked, kind: str) -> list[str]:
    return [f"{finding.severity}: {finding.text}" for finding in found.findings if finding.kind == kind]


def examples(found: Checked, kind: str) -> str:
    return "\n".join(e for finding in found.findings if finding.kind == kind for e in finding.examples)


def test_good_data_pass_with_their_counts_and_a_forecast(data: Path) -> None:
    found = checked(data)
    assert found.ok
    assert found.findings == ()
    assert found.images == {"train": 44, "valid": 22, "test": 4}
    assert found.classes["label"]["train"] == {str(k): 4 for k in range(11)}
    assert (found.sizes["shortest"], found.sizes["longest"]) == (32, 32)
    assert found.modes == {"RGB": 70}
    assert found.forecast["store_bytes"] == 70 * 32 * 32 * 3
    assert found.forecast["free_bytes"] > found.forecast["disk_bytes"] > found.forecast["store_bytes"]
    assert found.forecast["search_seconds"] > 0


def test_every_damaged_picture_is_named_with_its_reason(data: Path) -> None:
    for name, (content, _) in BAD.items():
        (data / "training" / f"1_{name}.jpg").write_bytes(content)
    (data / "training" / "1_dangling.jpg").symlink_to(data / "gone.jpg")
    os.mkfifo(data / "training" / "1_fifo.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(data / "training" / "1_sock.jpg"))
        found = checked(data)
    assert not found.ok
    count = len(BAD) + 3
    assert about(found, "unreadable") == [
        f"problem: {count} pictures of {66 + count} labelled ones cannot be decoded"
        " (fewer than 1% would be left out)."
    ]
    lines = {Path(line.split(": ")[0]).stem[2:]: line for line in examples(found, "unreadable").splitlines()}
    reasons = {name: reason for name, (_, reason) in BAD.items()}
    reasons |= {"dangling": "No such file", "fifo": "no regular file", "sock": "no regular file"}
    assert set(lines) == set(reasons)
    for name, reason in reasons.items():
        assert reason in lines[name], name
    assert found.images["train"] == 44 + count


def test_every_odd_picture_is_read_and_named_where_that_helps(data: Path) -> None:
    for name, content in GOOD.items():
        (data / "training" / f"2_{name}.png").write_bytes(content)
    with open(os.fsencode(data / "training") + b"/2_" + OWN, "wb") as file:
        file.write(encoded(scene(319, 32), "JPEG"))
    found = checked(data)
    assert found.ok
    assert about(found, "unreadable") == []
    assert found.images["train"] == 44 + len(GOOD) + 1
    assert set(found.modes) == {"RGB", "CMYK", "I;16", "RGBA", "P", "1"}
    assert sum(found.modes.values()) == 70 + len(GOOD) + 1
    named = {
        kind: examples(found, kind) for kind in ("suffix", "animated", "turned", "thin", "tiny", "blank")
    }
    assert {"cmyk", "animated", "rotated", "wrong_suffix", "one_bit"} == {
        name for name in GOOD if f"2_{name}." in named["suffix"]
    }
    assert "2_animated.png: GIF 32 x 32 px" in named["animated"]
    assert "2_rotated" in named["turned"]
    assert "2_thin.png: PNG 600 x 3 px" in named["thin"]
    assert "2_pixel.png: PNG 1 x 1 px" in named["tiny"]
    assert "2_pixel.png" in named["blank"]
    assert json.loads(json.dumps(found.modes)) == found.modes


def test_a_bad_test_picture_is_a_warning(data: Path) -> None:
    (data / "test" / "0001.jpg").write_bytes(b"<html>")
    found = checked(data)
    assert found.ok
    assert about(found, "unreadable") == ["warning: 1 test picture cannot be decoded: answered as if gray."]


def test_copies_conflicts_leaks_blanks_and_imbalance_are_found(data: Path) -> None:
    shutil.copy(data / "training" / "0_0.jpg", data / "training" / "0_7.jpg")
    with Image.open(data / "training" / "3_1.jpg") as image:
        image.save(data / "training" / "4_9.jpg", quality=80, subsampling=0)
    shutil.copy(data / "training" / "5_0.jpg", data / "test" / "0002.jpg")
    Image.new("RGB", (32, 32), "gray").save(data / "training" / "6_8.jpg")
    for k in range(60):
        scene(700 + k, 32).save(data / "training" / f"7_{100 + k}.jpg")
    found = checked(data)
    assert found.ok
    assert about(found, "copies") == ["note: 4 train pictures form 2 groups of copies (1 of the same bytes)."]
    assert "3_1.jpg (3)" in examples(found, "conflict")
    assert "4_9.jpg (4)" in examples(found, "conflict")
    assert len(about(found, "leak")) == 1
    assert "1 test picture is a copy of train pictures" in about(found, "leak")[0]
    assert about(found, "blank") == ["warning: 1 picture of one color (1 in train)."]
    assert "64 training pictures of '7', 4 of" in about(found, "imbalance")[0]


def test_ids_that_the_sample_submission_does_not_name_are_a_problem(data: Path) -> None:
    (data / "sample_submission.csv").write_text("Id,Category\n0000,0\n0001,0\n0002,0\n0009,0\n")
    found = checked(data)
    assert not found.ok
    assert (
        "1 ids of the sample submission have no test picture (first: '0009')"
        in about(found, "sample_submission")[0]
    )


def test_labels_that_cannot_be_trained_on_are_a_problem(data: Path) -> None:
    for path in (data / "training").glob("3_*.jpg"):
        path.unlink()
    found = checked(data)
    assert "No training image of class '3'" in about(found, "labels")[0]
    assert found.images["train"] == 40


def test_a_broken_layout_is_a_problem_and_no_data_an_error(data: Path) -> None:
    (data / "training" / "nolabel.jpg").write_bytes(b"")
    found = checked(data)
    assert not found.ok
    assert "its name holds no label" in about(found, "layout")[0]
    with pytest.raises(UsageError, match="does not exist"):
        check("food11", data / "gone")


def test_an_archive_is_unpacked_and_checked(data: Path) -> None:
    files = {str(p.relative_to(data)): p.read_bytes() for p in data.rglob("*.jpg")}
    (data.parent / "download").mkdir()
    archive = made_zip(data.parent / "download" / "ml2022spring-hw3b.zip", files)
    for given in (archive, archive.parent):
        found = check("food11", given, out=data.parent / "runs")
        assert found.ok
        assert found.images == {"train": 44, "valid": 22, "test": 4}
        assert found.data.startswith(str(data.parent / "runs" / "unpacked" / "ml2022spring-hw3b-"))


def test_the_tables_show_counts_findings_and_a_verdict(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "test" / "0001.jpg").write_bytes(b"<html>")
    show(checked(data))
    text = capsys.readouterr().out
    for words in (
        "train",
        "each of 11 classes of label",
        "modes",
        "disk",
        "0001.jpg: HTML or XML text",
        "1 warning",
    ):
        assert words in text, words


def test_json_is_one_object_and_the_exit_code_tells(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main("food11", data, out=data.parent / "runs", as_json=True)
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    (data / "training" / "1_1.jpg").write_bytes(b"")
    with pytest.raises(SystemExit) as stop:
        main("food11", data, out=data.parent / "runs", as_json=True)
    assert stop.value.code == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["findings"][0]["kind"] == "unreadable"
    assert answer["findings"][0]["examples"][0].endswith("1_1.jpg: the file is empty")


def test_the_command_takes_a_folder_of_ones_own(tmp_path: Path) -> None:
    for k in range(24):
        path = tmp_path / "mine" / ("cat" if k % 2 else "dog") / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(k, 32).save(path)
    command = [sys.executable, "-m", "orchestrator.check", "--data", "mine", "--out", "runs"]
    root = str(Path(__file__).parents[1])
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "cat" in ended.stdout
