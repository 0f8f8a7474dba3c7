"""Answers of masks and of pictures: written, and checked as strictly as the organisers would."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.errors import DataError, InvalidSubmission
from trainables.maps import Maps
from trainables.mask_answers import APART, MaskAnswer, answered_images, columns_of
from trainables.picture_answers import PictureAnswer
from trainables.task import Head

IDS = ("01.jpg", "02.jpg", "a_b.jpg")
HEAD = Head(name="defect", classes=("1", "2"))
SIZES = {id: (4, 5 + k) for k, id in enumerate(IDS)}
TOGETHER_ANSWER = MaskAnswer(head=HEAD, sizes=SIZES)
APART_ANSWER = MaskAnswer(head=HEAD, sizes=SIZES, columns=APART)


def masks() -> Maps:
    images = [np.full((2, *SIZES[id]), 0.5, np.float32) for id in IDS]
    images[0][0, 1:3, 0] = images[0][0, 3, 4] = 0.6
    images[2][1] = 1
    return Maps(ids=IDS, images=images)


@pytest.fixture(params=["together", "apart"])
def answer(request: pytest.FixtureRequest) -> MaskAnswer:
    return TOGETHER_ANSWER if request.param == "together" else APART_ANSWER


def test_every_image_and_class_has_a_row(tmp_path: Path) -> None:
    TOGETHER_ANSWER.write(masks(), tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_text().splitlines() == [
        "ImageId_ClassId,EncodedPixels",
        "01.jpg_1,2 2 20 1",
        "01.jpg_2,",
        "02.jpg_1,",
        "02.jpg_2,",
        "a_b.jpg_1,",
        "a_b.jpg_2,1 28",
    ]


def test_the_three_columns_hold_the_same(tmp_path: Path) -> None:
    APART_ANSWER.write(masks(), tmp_path / "submission.csv")
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert lines[:3] == ["ImageId,ClassId,EncodedPixels", "01.jpg,1,2 2 20 1", "01.jpg,2,"]
    assert len(lines) == 7


def test_what_is_written_passes(answer: MaskAnswer, tmp_path: Path) -> None:
    path = tmp_path / "out" / answer.filename
    answer.write(masks(), path)
    answer.check(path, IDS)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    answer.check(path, IDS)


SPOILED: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "empty": (lambda _: "", "is empty"),
    "mark": (lambda text: "\ufeff" + text, "line 1: a byte order mark"),
    "header": (lambda text: text.replace("Encoded", "encoded"), "line 1: wrong header '.*encodedPixels'"),
    "cut": (lambda text: text.replace(",2 2 20 1", ""), "line 2: . columns instead of "),
    "blank": (lambda text: text.replace("\n02", "\n\n02", 1), "line 4: an empty line"),
    "odd": (lambda text: text.replace("2 2 20 1", "2 2 20"), "line 2: 3 numbers are no pairs"),
    "letters": (lambda text: text.replace("2 2 20 1", "2 2 nan 1"), "line 2: 'nan' is no whole number"),
    "overlap": (
        lambda text: text.replace("2 2 20 1", "2 2 3 1"),
        r"line 2: run 1 \(2 2\) and run 2 .* overlap",
    ),
    "descend": (lambda text: text.replace("2 2 20 1", "20 1 2 2"), "line 2: run 1 .* descend"),
    "zero": (lambda text: text.replace("2 2 20 1", "0 2"), r"line 2: run 1 \(0 2\): starts and lengths"),
    "past": (lambda text: text.replace("2 2 20 1", "20 2"), "line 2: .* ends past the last pixel, 20"),
    "two spaces": (lambda text: text.replace("2 2 20", "2 2  20"), "line 2: spaces to spare"),
    "leading": (lambda text: text.replace("2 2 20", " 2 2 20"), "line 2: spaces to spare"),
    "trailing": (lambda text: text.replace("20 1", "20 1 "), "line 2: spaces to spare"),
    "missing": (
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        "5 rows for 6 .*; the id 'a_b.jpg.2' is missing",
    ),
    "twice": (
        lambda text: text + text.splitlines()[-1] + "\n",
        "line 8: the id 'a_b.jpg.2' stands in line 7 already",
    ),
    "unknown": (lambda text: text.replace("02.jpg", "03.jpg"), "line 4: no test image has the id '03.jpg.1'"),
    "class": (
        lambda text: text.replace("a_b.jpg_2", "a_b.jpg_3").replace("a_b.jpg,2", "a_b.jpg,3"),
        "line 7",
    ),
    "order": (
        lambda text: "\n".join([(lines := text.splitlines())[0], *lines[:0:-1]]),
        "line 2: wrong order: the id 'a_b.jpg.2' where '01.jpg.1' is due",
    ),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_spoiled_answer_is_refused_with_its_line(answer: MaskAnswer, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "submission.csv"
    answer.write(masks(), path)
    change, fault = SPOILED[spoil]
    changed = change(path.read_text())
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(InvalidSubmission, match=fault) as caught:
        answer.check(path, IDS)
    assert path.name in caught.value.what
    assert caught.value.fix


def test_without_its_size_an_image_may_be_of_any(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    TOGETHER_ANSWER.write(masks(), path)
    path.write_text(path.read_text().replace("2 2 20 1", "2 2 2000 1"))
    MaskAnswer(head=HEAD).check(path, IDS)


def test_the_form_and_the_images_are_read_from_a_sample(answer: MaskAnswer, tmp_path: Path) -> None:
    answer.write(masks(), tmp_path / "sample.csv")
    assert columns_of(tmp_path / "sample.csv") == answer.columns
    assert tuple(answered_images(tmp_path / "sample.csv")) == IDS
    (tmp_path / "sample.csv").write_text("id\n1\n")
    with pytest.raises(DataError, match="line 1: 1 columns where an answer has 2 or 3"):
        columns_of(tmp_path / "sample.csv")


def test_heads_found_in_the_data_decide_the_rows(tmp_path: Path) -> None:
    other = TOGETHER_ANSWER.with_heads((Head(name="defect", classes=("x", "y")),))
    other.write(masks(), tmp_path / "submission.csv")
    assert "01.jpg_y," in (tmp_path / "submission.csv").read_text().splitlines()


PICTURES = PictureAnswer(sizes={"baby": (4, 5), "bird": (3, 3)})


def enlarged() -> Maps:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in [(12, 15, 3), (9, 9, 3)]]
    return Maps(ids=("baby", "bird"), images=images, form="picture")


def png(height: int, width: int, mode: str = "RGB", form: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new(mode, (width, height)).save(content, format=form)
    return content.getvalue()


def damaged(height: int, width: int) -> bytes:
    """A PNG from first byte to last whose packed pixels no zlib can unpack."""
    content = png(height, width)
    pixels = content.index(b"IDAT") + 4
    return content[:pixels] + b"\xff" * 8 + content[pixels + 8 :]


@pytest.mark.parametrize("name", ["submission.zip", "pictures"])
def test_pictures_are_named_as_their_inputs(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for _ in range(2):  # the second takes the place of the first
        PICTURES.write(enlarged(), path)
    PICTURES.check(path, ("baby", "bird"))
    if name.endswith(".zip"):
        before = path.read_bytes()
        PICTURES.write(enlarged(), path)
        assert path.read_bytes() == before
        zipfile.ZipFile(path).extractall(path := tmp_path / "unpacked")
    assert sorted(file.name for file in path.iterdir()) == ["baby.png", "bird.png"]
    assert (np.asarray(Image.open(path / "baby.png")) == enlarged().image(0)).all()


FAULTS: dict[str, tuple[dict[str, bytes], str]] = {
    "missing": ({"baby.png": png(12, 15)}, "1 pictures for 2 test pictures; 'bird.png' is missing"),
    "extra": ({"bird.jpg": png(9, 9)}, "'bird.jpg' answers no test picture"),
    "small": ({"baby.png": png(12, 14)}, "'baby.png' is 14x12 px, where 3 times its input is 15x12"),
    "turned": ({"baby.png": png(15, 12)}, "'baby.png' is 12x15 px"),
    "jpeg": ({"baby.png": png(12, 15, form="JPEG")}, "'baby.png' is JPEG RGB"),
    "alpha": ({"baby.png": png(12, 15, "RGBA")}, "'baby.png' is PNG RGBA"),
    "deep": ({"baby.png": png(12, 15, "I;16")}, "'baby.png' is PNG I;16"),
    "cut": ({"baby.png": png(12, 15)[:45]}, "'baby.png' is cut"),
    "cut at the end": ({"baby.png": png(12, 15)[:-12]}, "'baby.png' is cut"),
    "damaged": ({"baby.png": damaged(12, 15)}, "'baby.png' cannot be read"),
    "text": ({"baby.png": b"hello"}, "'baby.png' cannot be read"),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_picture_at_fault_is_named(tmp_path: Path, fault: str, packed: bool) -> None:
    files, message = FAULTS[fault]
    path = tmp_path / ("answer.zip" if packed else "answer")
    if packed:
        with zipfile.ZipFile(path, "w") as file:
            for name, content in files.items():
                file.writestr(name, content)
    else:
        path.mkdir()
        for name, content in files.items():
            (path / name).write_bytes(content)
    with pytest.raises(InvalidSubmission, match=message) as caught:
        PICTURES.check(path, ("baby", "bird"))
    assert str(path) in caught.value.what
    assert caught.value.fix


def test_a_gray_answer_to_a_gray_picture_passes(tmp_path: Path) -> None:
    (tmp_path / "baby.png").write_bytes(png(12, 15, "L"))
    PICTURES.check(tmp_path, ("baby",))


def test_what_is_no_folder_of_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSubmission, match="does not exist"):
        PICTURES.check(tmp_path / "nothing.zip", ("baby",))
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4")
    with pytest.raises(InvalidSubmission, match="no whole zip file"):
        PICTURES.check(tmp_path / "cut.zip", ("baby",))
    (tmp_path / "answer" / "more").mkdir(parents=True)
    with pytest.raises(InvalidSubmission, match="'more' is a folder"):
        PICTURES.check(tmp_path / "answer", ("baby",))
