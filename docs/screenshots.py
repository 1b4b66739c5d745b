"""Pictures of the built pages as a browser draws them, at the width of a laptop and of a phone.

    pip install PyQt6-WebEngine
    python docs/screenshots.py docs/_build/html FOLDER [PAGE ...]

saves PAGE_1280.png and PAGE_390.png, to be looked at, and says which code a reader would have to scroll sideways for.
It exits with 1 if there is any.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QTWEBENGINE_CHROMIUM_FLAGS", "--no-sandbox --disable-gpu")

from PyQt6.QtCore import QTimer, QUrl
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication

WIDTHS = 1280, 390
TALLEST = 6000  # pixels of a picture
SETTLED = 1200  # milliseconds after a change of size
PAGES = (
    *("index", "quickstart", "guide", "api", "benchmarks", "clouds", "multiscale", "design", "systems"),
    *("auto_examples/index", "generated/elastic_ot.solve", "generated/elastic_ot.Solution"),
)
MEASURE = """[document.documentElement.scrollHeight, document.documentElement.scrollWidth - window.innerWidth,
    [...document.querySelectorAll('.bd-article pre')].filter(code => code.scrollWidth > code.clientWidth + 1)
        .map(code => code.textContent.trim().split('\\n').sort((x, y) => y.length - x.length)[0])]"""


class Camera:
    """One page after the other, at one width after the other."""

    def __init__(self, html: Path, out: Path, pages: list[str]) -> None:
        self.html, self.out = html, out
        self.waiting = [(page, width) for page in pages for width in WIDTHS]
        self.clipped = 0
        self.view = QWebEngineView()
        self.view.loadFinished.connect(self._loaded)
        self.view.show()
        self._next()

    def _next(self) -> None:
        if not self.waiting:
            QApplication.quit()
            return
        self.page, self.width = self.waiting.pop(0)
        self.view.resize(self.width, 900)
        self.view.load(QUrl.fromLocalFile(str((self.html / f"{self.page}.html").resolve())))

    def _loaded(self, found: bool) -> None:
        if not found:
            sys.exit(f"{self.html / self.page}.html is not there")
        QTimer.singleShot(SETTLED, lambda: self.view.page().runJavaScript(MEASURE, self._measured))

    def _measured(self, answer: Any) -> None:
        height, beyond, lines = answer
        for line in lines + (["the page itself"] if beyond > 0 else []):
            self.clipped += 1
            print(f"{self.page} at {self.width} pixels: {line}")
        self.view.resize(self.width, min(int(height), TALLEST))
        QTimer.singleShot(SETTLED, self._save)

    def _save(self) -> None:
        self.view.grab().save(str(self.out / f"{self.page.replace('/', '_')}_{self.width}.png"))
        self._next()


def main() -> int:
    """Draw the pages that the command line names."""
    html, out, *pages = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    app = QApplication(sys.argv[:1])
    camera = Camera(Path(html), Path(out), pages or list(PAGES))
    app.exec()
    return int(camera.clipped > 0)


if __name__ == "__main__":
    sys.exit(main())
