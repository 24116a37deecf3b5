"""The README's picture: parts of a report, taken by headless Chromium.

Needs Pillow, which is no part of the project's environment: `pip install pillow`.

python scripts/picture.py runs/laptop-long/report/current/report.html docs/images/report.png
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, TALLEST = 1100, 5000  # pixels
LEFT_OUT = (
    "#corpus, #tokenizer, #perplexity, #study, #made, #figure-leak-deltas, footer, "
    "#mixture .wide, #mixture .wide ~ p, #mixture > h3, .modebar-container"
)


def main(report: Path, out: Path) -> None:
    """Write `out` (PNG), as tall as what is shown. Needs Chromium, and Pillow to cut and pack."""
    from PIL import Image, ImageChops

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium here; install it (apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "page.html", Path(folder) / "page.png"
        hidden = f"<style>{LEFT_OUT} {{ display: none !important }}</style></head>"
        page.write_text(report.read_text(encoding="utf-8").replace("</head>", hidden, 1), "utf-8")
        subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--hide-scrollbars",
             f"--window-size={WIDTH},{TALLEST}", "--virtual-time-budget=20000",
             f"--screenshot={picture}", page.as_uri()],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        image = Image.open(picture).convert("RGB")
    paper = Image.new("RGB", image.size, image.getpixel((1, TALLEST - 1)))
    box = ImageChops.difference(image, paper).getbbox()
    bottom = TALLEST if box is None else min(TALLEST, box[3] + 40)
    cut = image.crop((0, 0, WIDTH, bottom)).quantize(128, dither=Image.Dither.NONE)
    cut.save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
