"""One file in, an upright 8-bit RGB square out, or the reason why not."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from tests.images import photo, png
from trainables.decode import DecodeError, Header, decode, probe


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def off(left: np.ndarray, right: np.ndarray) -> float:
    """Largest difference of two images, in gray levels."""
    return float(np.abs(left.astype(int) - right.astype(int)).max())


def resized(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "jpg", "webp"])
def test_the_whole_picture_is_stretched_to_the_square(tmp_path: Path, suffix: str) -> None:
    image = photo(40, 20)
    path = saved(image, tmp_path / f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    pixels = decode(path, 20)
    assert pixels.shape == (20, 20, 3)
    assert pixels.dtype == np.uint8
    assert off(pixels, resized(image, 20)) <= (12 if suffix == "jpg" else 0)
    assert probe(path) == Header(40, 20, "RGB")


def test_a_large_jpeg_is_scaled_down_as_an_antialiased_resize_would(tmp_path: Path) -> None:
    image = photo(1600, 1200)
    path = saved(image, tmp_path / "x.jpg", quality=95)
    assert off(decode(path, 32), resized(image, 32)) <= 6


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = saved(photo(), tmp_path / f"x.{suffix}", exif=exif)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    assert off(decode(path, 16), resized(upright, 16)) <= 1
    assert probe(path) == Header(*upright.size, "RGB")


def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    path = saved(photo(), tmp_path / "x.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert off(decode(path, 16), resized(photo(), 16)) <= 25


RAMP = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = saved(Image.fromarray(RAMP), tmp_path / f"x.{suffix}")
    assert off(decode(path, 16)[..., 0], RAMP / 257) <= 1
    assert probe(path).mode == "I;16"


def test_16_bit_big_endian_is_read_in_its_order(tmp_path: Path) -> None:
    path = saved(Image.frombytes("I;16B", (16, 16), RAMP.astype(">u2").tobytes()), tmp_path / "x.tif")
    assert off(decode(path, 16)[..., 0], RAMP / 257) <= 1


def test_16_bit_rgb_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    rgb = np.stack([RAMP, RAMP[::-1], RAMP.T], -1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    (tmp_path / "x.png").write_bytes(png((16, 16, 16, 2), rows))
    assert off(decode(tmp_path / "x.png", 16), rgb / 257) <= 1


def test_32_bit_integers_and_floats_are_scaled(tmp_path: Path) -> None:
    ramp = RAMP.astype(np.float32) / 65535
    whole = saved(Image.fromarray(RAMP.astype(np.int32)), tmp_path / "int.tif")
    large = saved(Image.fromarray(RAMP.astype(np.int32) * 1000 - 5000), tmp_path / "large.tif")
    unit = saved(Image.fromarray(ramp), tmp_path / "unit.tif")
    wide = saved(Image.fromarray(ramp * 900 - 30), tmp_path / "wide.tif")
    for path in (whole, large, unit, wide):
        assert off(decode(path, 16)[..., 0], ramp * 255) <= 1, path


def test_float_pictures_may_not_hold_nan(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), tmp_path / "x.tif")
    with pytest.raises(DecodeError, match="not numbers"):
        decode(path, 4)


def test_palette_and_one_bit_show_their_colors(tmp_path: Path) -> None:
    reds = Image.new("P", (8, 8), 1)
    reds.putpalette([0, 0, 255, 250, 10, 20])
    assert decode(saved(reds, tmp_path / "p.png"), 4)[0, 0].tolist() == [250, 10, 20]
    halves = Image.new("1", (8, 8), 1)
    halves.paste(0, (0, 0, 8, 4))
    pixels = decode(saved(halves, tmp_path / "1.png"), 8)
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[7, 7].tolist() == [255, 255, 255]


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    hidden = Image.new("P", (8, 8), 1)
    hidden.putpalette([0, 0, 255, 250, 10, 20])
    for name, image, options in (
        ("rgba.png", Image.new("RGBA", (8, 8), (0, 0, 0, 0)), {}),
        ("la.png", Image.new("LA", (8, 8), (0, 0)), {}),
        ("p.png", hidden, {"transparency": 1}),
        ("p.gif", hidden, {"transparency": 1}),
        ("rgb.png", Image.new("RGB", (8, 8), (1, 2, 3)), {"transparency": (1, 2, 3)}),
        ("l.png", Image.new("L", (8, 8), 7), {"transparency": 7}),
    ):
        assert decode(saved(image, tmp_path / name, **options), 4).min() == 255, name
    half = saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), tmp_path / "half.png")
    assert decode(half, 4)[0, 0].tolist() == [127, 127, 127]


def test_cmyk_is_converted_to_its_color(tmp_path: Path) -> None:
    path = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "x.jpg")
    assert off(decode(path, 4)[0, 0], np.array([255, 0, 0])) <= 3


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for name in ("x.gif", "x.png", "x.webp", "x.tif"):
        path = saved(first, tmp_path / name, save_all=True, append_images=[second])
        assert off(decode(path, 4)[0, 0], np.array([255, 0, 0])) <= 3, name


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png((20_000, 20_000, 8, 2), b""))
    for refused in (lambda: probe(path), lambda: decode(path, 8)):
        with pytest.raises(DecodeError, match="million pixels"):
            refused()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "HTML"),
        (b"Not found", "no image of a known format"),
        (encoded(photo(), "PNG")[:20], "header is damaged|cut off"),
        (b"\xff\xd8\xff\xe0", "."),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DecodeError, match=reason):
        decode(tmp_path / "x.jpg", 8)


def test_a_file_that_cannot_be_read_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    for path in (tmp_path, tmp_path / "dangling.jpg"):
        with pytest.raises(DecodeError, match="cannot be read"):
            probe(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_cut_jpeg_is_refused_wherever_it_is_cut(tmp_path: Path, options: dict[str, bool]) -> None:
    whole = encoded(photo(64, 64), "JPEG", **options)
    for length in range(1, len(whole) - 2, 23):
        (tmp_path / "x.jpg").write_bytes(whole[:length])
        with pytest.raises(DecodeError):
            decode(tmp_path / "x.jpg", 16)


def test_any_changed_byte_of_a_png_is_refused(tmp_path: Path) -> None:
    whole = encoded(photo(), "PNG")
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        (tmp_path / "x.png").write_bytes(damaged)
        with pytest.raises(DecodeError):
            decode(tmp_path / "x.png", 16)


FILES = {
    format: encoded(photo().convert("P") if format == "GIF" else photo(), format)
    for format in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=5)
)
def test_damage_gives_an_image_or_a_reason_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, format: str, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(FILES[format])
    for where, value in changes:
        data[int(where * len(data))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    for call in (lambda: probe(path), lambda: decode(path, 8)):
        with suppress(DecodeError):
            call()
