"""An executed notebook as Markdown, and its pictures."""

import base64
import json
from pathlib import Path
from typing import Any


def as_markdown(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """The text of the page, and the pictures by the names that the text calls them by."""
    cells = json.loads(notebook.read_text())["cells"]
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            parts.append(_output(output, notebook.stem, pictures))
    return "\n\n".join(part for part in parts if part), pictures


def _output(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> str:
    if output["output_type"] == "stream":
        return _text("".join(output["text"]))
    data = output["data"]
    if "image/png" in data:
        name = f"{stem}_{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![Figure {len(pictures)}]({name})"
    return _text("".join(data.get("text/plain", "")))


def _text(text: str) -> str:
    return f'```{{.text .output title="Output"}}\n{text.rstrip()}\n```' if text.strip() else ""
