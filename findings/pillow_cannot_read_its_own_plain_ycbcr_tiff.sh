#!/usr/bin/env bash
# Pillow 12.3.0 (12.2.0 too; 13.0.0 reads it): a YCbCr image saved as a TIFF without compression, its default, can't be
# loaded again by the Pillow that wrote it:
#
#     OSError: image file is truncated (0 bytes not processed)
#
# Most would guess that what save() writes without an error, open() reads, and that a "truncated" file was damaged by a
# disk or a download: nothing is missing in it. With compression="tiff_lzw" the same image comes back, as RGB. It matters
# to whoever keeps scans or camera pictures in YCbCr as lossless TIFFs: a training that decodes while it runs ends at the
# first of them, long after they were written.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==12.3.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import PIL
from PIL import Image

assert PIL.__version__ == "12.3.0"
image = Image.new("RGB", (16, 16), (200, 40, 90)).convert("YCbCr")

image.save("plain.tif")
try:
    Image.open("plain.tif").load()
except OSError as error:
    print(f"without compression: {type(error).__name__}: {error}")
    assert "truncated" in str(error)
else:
    raise SystemExit("changed: the file without compression is read")

image.save("packed.tif", compression="tiff_lzw")
again = Image.open("packed.tif").convert("RGB").getpixel((0, 0))
print(f"with tiff_lzw: {again}")
assert all(abs(a - b) <= 3 for a, b in zip(again, (200, 40, 90)))
PYTHON
