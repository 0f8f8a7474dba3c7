"""One image file as a square of 8-bit RGB. Imports numpy and Pillow only: child processes start with it."""

import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from trainables import bicubic
from trainables.errors import DataError

DECODE_VERSION = 1
"""Raise it when the same file would decode to other pixels: every store is then made anew."""
PIXEL_CAP = 178_956_970
"""Most pixels that a picture may have; a small file can claim to hold more and fill the memory."""
READERS = (JpegImageFile, PngImageFile, GifImageFile, BmpImageFile, WebPImageFile, TiffImageFile)
FORMATS = tuple(reader.format for reader in READERS)
GAP = 2.0
"""How many times the target size JPEG scaling and box reduction leave for the antialiased resize: on noisy
512 px photos 1.7 times as fast as none, for a difference under one gray level (root mean square)."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the picture upright."""
TURNED = {UPRIGHT[k] for k in (5, 6, 7, 8)}
"""Those that make the width the height."""

Size = tuple[int, int]
"""Height and width in px."""


class DecodeError(DataError):
    """A file that is no whole picture; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself: upright size in px and Pillow's mode."""

    width: int
    height: int
    mode: str


def probe(path: Path) -> Header:
    """The header of an image file, without decoding its pixels. Raises DecodeError."""
    image = _open(_read(path))
    width, height = image.size
    # Pillow turns the size of a TIFF itself
    if image.format != "TIFF" and _orientation(image) >= 5:
        width, height = height, width
    return Header(width, height, image.mode)


@dataclass(frozen=True)
class Traits:
    """What is unusual of a file: its real format, how many frames it has, whether EXIF turns it."""

    format: str
    frames: int
    turned: bool


def traits(path: Path) -> Traits:
    """The traits of an image file, without decoding its pixels. Raises DecodeError."""
    image = _open(_read(path))
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:  # the first frame is what counts, and `decode` judges it
        frames = 1
    format = "JPEG" if image.format == "MPO" else f"{image.format}"
    return Traits(format, frames, _orientation(image) in UPRIGHT)


def decode(path: Path, side: int) -> np.ndarray:
    """The whole picture, upright, stretched to uint8 RGB [side, side, 3]; of an animation the first frame.

    16-bit and float values are scaled, transparency is laid on white, nothing is cropped away.
    Raises DecodeError with the reason when any part of the file is missing or damaged.
    """
    return _stretched(path, (side, side))


def _stretched(path: Path, size: Size) -> np.ndarray:
    data = _read(path)
    try:
        return _decode(data, size)
    except DecodeError:
        raise
    except MemoryError:
        raise DecodeError("decoding it takes more memory than there is") from None
    except Exception as error:
        raise DecodeError(f"cannot be decoded: {error or type(error).__name__}") from error


def decode_whole(path: Path, shrink: int = 1) -> np.ndarray:
    """The whole picture, upright, at its own size: uint8 RGB [height, width, 3]; else as `decode`.

    With `shrink` it is cropped to a multiple of that and made so many times smaller, by `bicubic.shrink`.
    """
    header = probe(path)
    picture = _stretched(path, (header.height, header.width))
    return picture if shrink == 1 else bicubic.shrink(bicubic.cropped(picture, shrink), shrink)


def write_square(path: Path, side: int, out: Path, row: int) -> None:
    """Decode `path` into row `row` of the raw file `out`. Raises DecodeError, or OSError on a full disk."""
    pixels = decode(path, side).tobytes()
    _write_at(out, row * len(pixels), pixels)


def write_whole(path: Path, shape: Size, shrink: int, out: Path, offset: int) -> None:
    """`decode_whole` of `path` into the raw file `out`. Raises as `write_square`."""
    picture = decode_whole(path, shrink)
    if picture.shape[:2] != shape:
        raise DecodeError(f"has {picture.shape[1]}x{picture.shape[0]} px where its header says otherwise")
    _write_at(out, offset, picture.tobytes())


def _write_at(out: Path, offset: int, pixels: bytes) -> None:
    descriptor = os.open(out, os.O_WRONLY)
    try:
        written = os.pwrite(descriptor, pixels, offset)
        if written < len(pixels):  # the rest raises what stopped it: a full disk, a quota
            os.pwrite(descriptor, pixels[written:], offset + written)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DecodeError(f"cannot be read: {error.strerror}") from error
    if not data:
        raise DecodeError("the file is empty")
    return data


def _open(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        text = data.lstrip()[:1] == b"<"
        raise DecodeError("HTML or XML text, no image" if text else "no image of a known format") from None
    except Image.DecompressionBombError:
        raise DecodeError(f"claims more than {PIXEL_CAP // 10**6} million pixels") from None
    except Exception as error:
        raise DecodeError(f"its header is damaged: {error}") from error
    if image.width * image.height > PIXEL_CAP:
        raise DecodeError(f"claims more than {PIXEL_CAP // 10**6} million pixels")
    return image


def _decode(data: bytes, size: Size) -> np.ndarray:
    image = _open(data)
    if image.format == "PNG":
        _check_png(data)
    # Pillow turns a TIFF itself when it is loaded
    turn = None if image.format == "TIFF" else UPRIGHT.get(_orientation(image))
    height, width = size[::-1] if turn in TURNED else size
    image.draft(None, (round(width * GAP), round(height * GAP)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.load()
        small = _plain(image).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=GAP)
        # what is small is turned instead of the picture: the same pixels for a fraction of the memory
        return np.asarray(_opaque(small if turn is None else small.transpose(turn)))


def _check_png(data: bytes) -> None:
    """Raise DecodeError unless every chunk has its checksum: Pillow decodes damaged pixels to garbage."""
    view, start = memoryview(data), 8
    while start + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, start)
        end = start + 8 + length
        if end + 4 > len(view):
            break
        if zlib.crc32(view[start + 4 : end]) != struct.unpack_from(">I", view, end)[0]:
            raise DecodeError(
                f"damaged: the checksum of its {kind.decode('ascii', 'replace')} chunk is wrong"
            )
        if kind == b"IEND":
            return
        start = end + 4
    raise DecodeError("the file is cut off before its end")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata beside a whole picture
        return 1


def _plain(image: Image.Image) -> Image.Image:
    """The same picture with 8 bits a channel, in a mode that can be resized: L, RGB, RGBA or CMYK."""
    if image.mode[0] == "I" or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Gray values as uint8: 0..65535 by the high byte, floats of 0..1 as such, anything else stretched."""
    if not np.isfinite(values).all():
        raise DecodeError("holds values that are not numbers")
    low, high = values.min(), values.max()
    if values.dtype.kind in "iu" and low >= 0 and high <= 0xFFFF:
        return (values >> 8).astype(np.uint8)
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0, 1
    span = max(float(high) - float(low), 1e-12)
    scaled: np.ndarray = np.rint((values.astype(np.float64) - low) * (255 / span)).astype(np.uint8)
    return scaled


def _opaque(image: Image.Image) -> Image.Image:
    """RGB, transparency laid on white."""
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
