"""Pictures inside the page: saved figures, and sheets of small scans from which its script cuts tiles."""

import base64
import io
import json
from pathlib import Path

import numpy as np

from lungkeras.report.figures.files import DPI, webp
from lungkeras.system.untrusted import json_files

CSS_DPI = 96
LARGE_PNG = 400_000  # bytes; beyond, photographs are embedded as WebP
THUMBNAIL = 64  # pixels
COLUMNS = 24  # of a sheet of thumbnails


def embedded(png: Path) -> dict:
    """A figure inside the page: its data URI, width and height in CSS pixels, its description and its pictures.

    A large PNG is embedded as WebP if that is smaller; the PNG itself is linked. `pictures` is the JSON of
    `figures.files.pictures`, empty if the file does not have it: then the page can't show the figure on a dark ground.
    """
    from PIL import Image

    data, kind = png.read_bytes(), "png"
    with Image.open(io.BytesIO(data)) as image:
        about = image.info.get("Description", "")
        places = _places(image.info.get("Pictures"))
        scale = CSS_DPI / (image.info.get("dpi") or (DPI, DPI))[0]
        width, height = (round(pixels * scale) for pixels in image.size)
        if len(data) > LARGE_PNG:
            smaller = io.BytesIO()
            image.convert("RGB").save(smaller, "WEBP", quality=85)
            if smaller.tell() < len(data):
                data, kind = smaller.getvalue(), "webp"
    uri = data_uri(data, kind)
    return {"uri": uri, "width": width, "height": height, "description": about, "pictures": places}


def _places(text: object) -> str:
    """The JSON of a figure's pictures, empty if it has another form."""
    try:
        return json.dumps(
            [
                {"box": [min(max(float(edge), 0), 1) for edge in one["box"][:4]]}
                | {key: str(one[key]) for key in ("title", "group")}
                for one in json_files.loads(text)
            ],
            separators=(",", ":"),
        )
    except (TypeError, ValueError, KeyError, RecursionError):
        return ""


def data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def thumbnails(scans: np.ndarray) -> dict:
    """uint8 (scans, H, W) on one sheet, row by row: {uri, columns}."""
    import cv2

    tile = min(scans.shape[1], THUMBNAIL)
    rows = -(-len(scans) // COLUMNS)
    sheet = np.zeros((rows * tile, COLUMNS * tile), np.uint8)
    for place, scan in enumerate(scans):
        top, left = (tile * at for at in divmod(place, COLUMNS))
        small = cv2.resize(np.asarray(scan), (tile, tile), interpolation=cv2.INTER_AREA)
        sheet[top : top + tile, left : left + tile] = small
    return {"uri": data_uri(webp(sheet), "webp"), "columns": COLUMNS}
