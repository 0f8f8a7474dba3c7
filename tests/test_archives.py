"""Archives: unpacked whole and once, or refused with nothing left behind."""

import gzip
import io
import os
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.archives import Limits, archive_in, unpacked
from trainables.errors import DataError

FILES = {
    "train/cat/1.jpg": b"cat",
    "train/dog/2.jpg": b"dog" * 1000,
    "labels.csv": b"id,label\n",
    "empty": b"",
}


def made_zip(path: Path, files: dict[str, bytes], *, packed: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packed) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def made_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def made(path: Path, files: dict[str, bytes]) -> Path:
    return made_zip(path, files) if path.suffix == ".zip" else made_tar(path, files)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(archive: Path, reason: str, limits: Limits | None = None) -> None:
    """Unpacking raises DataError with the reason and leaves nothing."""
    into = archive.parent / "unpacked"
    with pytest.raises(DataError, match=reason) as caught:
        unpacked(archive, into, limits=limits or Limits())
    assert str(archive) in caught.value.what
    assert caught.value.fix
    assert [p.name for p in into.iterdir() if not p.name.endswith(".lock")] == []
    assert {p.name for p in archive.parent.iterdir()} == {archive.name, "unpacked"}


KINDS = ["a.zip", "a.tar", "a.tar.gz", "a.tgz"]


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_is_unpacked_once(tmp_path: Path, name: str) -> None:
    archive = made(tmp_path / name, FILES)
    seen: list[tuple[int, int]] = []
    folder, fresh = unpacked(archive, tmp_path / "into", progress=lambda *step: seen.append(step))
    assert content(folder) == FILES
    assert fresh
    assert folder.name.startswith("a-")
    assert all(0 <= done <= total for done, total in seen)
    assert seen
    assert unpacked(archive, tmp_path / "into") == (folder, False)


def test_another_archive_of_the_same_name_is_unpacked_beside(tmp_path: Path) -> None:
    first, _ = unpacked(made(tmp_path / "a.zip", FILES), tmp_path / "into")
    second, _ = unpacked(made(tmp_path / "a.zip", {"x": b"1"}), tmp_path / "into")
    assert content(first) == FILES
    assert content(second) == {"x": b"1"}


def test_a_folder_that_holds_only_an_archive_stands_for_it(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", FILES)
    (tmp_path / ".hidden").touch()
    assert archive_in(tmp_path) == archive
    assert archive_in(archive) == archive
    (tmp_path / "train").mkdir()
    assert archive_in(tmp_path) is None
    assert archive_in(tmp_path / "gone.zip") is None


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_names_are_made_plain_and_the_systems_own_files_left_out(tmp_path: Path, name: str) -> None:
    odd = {
        "./train//1.jpg": b"1",
        "train\\2.jpg": b"2",
        "__MACOSX/train/._1.jpg": b"?",
        "train/.DS_Store": b"?",
        "train/e\u0301.jpg": b"3",
    }
    folder, _ = unpacked(made(tmp_path / name, odd), tmp_path / "into")
    assert content(folder) == {"train/1.jpg": b"1", "train/2.jpg": b"2", "train/\u00e9.jpg": b"3"}


def test_archives_inside_are_left_as_they_are(tmp_path: Path) -> None:
    inner = made(tmp_path / "inner.zip", FILES).read_bytes()
    folder, _ = unpacked(made(tmp_path / "a.zip", {"inner.zip": inner}), tmp_path / "into")
    assert content(folder) == {"inner.zip": inner}


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
@pytest.mark.parametrize(
    "name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "..\\x.jpg", "C:\\x.jpg", "a/..", "C:x"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, kind: str, name: str) -> None:
    refused(made(tmp_path / kind, {"ok.jpg": b"", name: b"x"}), "leads out of the folder")


@pytest.mark.parametrize("name", ["a\x01.jpg", "b" * 300])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    refused(made(tmp_path / "a.tar", {name: b""}), "is no name for a file")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        member = tarfile.TarInfo("train/1.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    refused(tmp_path / "a.tar", "'train/1.jpg' is a link or no regular file")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        member = zipfile.ZipInfo("1.jpg")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(member, "/etc/passwd")
    refused(tmp_path / "a.zip", "'1.jpg' is a link")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nothing_is_written_twice(tmp_path: Path, kind: str) -> None:
    refused(made(tmp_path / kind, {"x/1.jpg": b"1", "x//1.jpg": b"2"}), "'x/1.jpg' is in it twice")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    refused(made(tmp_path / "a.tar", {"x": b"1", "x/1.jpg": b"2"}), "'x' is a file and a folder")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", {"1.jpg": b"1"})
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    refused(archive, "'1.jpg' is encrypted")


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(members=3), "more than 3 files"),
        (Limits(total=1_000_000), r"more than 0\.0 GB"),
        (Limits(free_of_ratio=1_000_000), "times its size"),
        (Limits(free_of_ratio=1_000_000, ratio=1e6, total=1_500_000), "GB|times its size"),
    ],
)
def test_bombs_are_refused(tmp_path: Path, kind: str, limits: Limits, reason: str) -> None:
    refused(made(tmp_path / kind, {str(k): bytes(600_000) for k in range(4)}), reason, limits)


def test_one_file_of_a_zip_may_not_be_a_bomb(tmp_path: Path) -> None:
    files = {"noise": os.urandom(200_000), "bomb": bytes(4_000_000)}
    refused(made(tmp_path / "a.zip", files), "'bomb' unpacks to", Limits(free_of_ratio=1_000_000))


def test_a_zip_that_claims_more_than_the_disk_holds_is_refused_at_once(tmp_path: Path) -> None:
    archive = made_zip(tmp_path / "a.zip", {"x": b"1"}, packed=zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    start = data.index(b"PK\x01\x02")
    struct.pack_into("<II", data, start + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    archive.write_bytes(data)
    refused(archive, "more than 1.0 GB", Limits(total=1_000_000_000))


def test_a_zip_that_holds_more_than_it_claims_is_damaged(tmp_path: Path) -> None:
    archive = made_zip(tmp_path / "a.zip", {"x": bytes(100_000)})
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 10)
    struct.pack_into("<I", data, data.index(b"PK\x03\x04") + 22, 10)
    archive.write_bytes(data)
    refused(archive, "cut off or damaged: Bad CRC-32")


def test_a_tar_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 8 << 30
    with gzip.open(tmp_path / "a.tgz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    refused(tmp_path / "a.tgz", "a header claims")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_cut_off_archive_is_explained(tmp_path: Path, kind: str, share: float) -> None:
    archive = made(tmp_path / kind, {str(k): os.urandom(5_000) for k in range(8)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * 41_000)])
    refused(archive, "is cut off or damaged")


def test_damage_between_two_files_of_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.tar", {"1": b"1" * 512, "2": b"2" * 512})
    data = bytearray(archive.read_bytes())
    data[1024] ^= 0xFF
    archive.write_bytes(data)
    refused(archive, "its end is missing")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_archive_is_explained(tmp_path: Path, kind: str) -> None:
    (tmp_path / kind).write_text("<html>not found</html>" * 50)
    refused(tmp_path / kind, "is cut off or damaged")


def test_an_interrupted_unpacking_leaves_nothing(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.zip", FILES)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpacked(archive, tmp_path / "into", progress=stop)
    assert [p.name for p in (tmp_path / "into").iterdir() if not p.name.endswith(".lock")] == []


@pytest.mark.parametrize("build", [made_zip, made_tar])
@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_archive_is_refused_or_stays_in_its_folder(
    tmp_path_factory: pytest.TempPathFactory,
    build: Callable[[Path, dict[str, bytes]], Path],
    changes: list[tuple[float, int]],
) -> None:
    home = tmp_path_factory.mktemp("home")
    archive = build(home / ("a.zip" if build is made_zip else "a.tar"), {"a/1": b"1" * 600, "b": b"2"})
    data = bytearray(archive.read_bytes())
    for where, value in changes:
        data[int(where * len(data))] = value
    archive.write_bytes(data)
    started = time.monotonic()
    with suppress(DataError):
        folder, _ = unpacked(archive, home / "into")
        assert folder.parent == home / "into"
    assert {p.name for p in home.iterdir()} <= {archive.name, "into"}
    assert time.monotonic() - started < 10
