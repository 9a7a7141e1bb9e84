"""Formulas as MathML, which browsers draw themselves: no script, nothing from elsewhere."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\s*\\(?:\(|\[)(?P<latex>.*?)\\(?:\)|\])\s*</(?P=tag)>',
    flags=re.DOTALL,
)
_BAR = r'<mo stretchy="false" form="prefix" lspace="0" rspace="0">\1</mo>'


def on_page_content(content: str, **kwargs: Any) -> str:
    """Replace what the extension arithmatex marked."""
    del kwargs
    return _FORMULA.sub(_as_mathml, content)


def _as_mathml(found: re.Match[str]) -> str:
    latex, block = html.unescape(found["latex"]).strip(), found["tag"] == "div"
    drawn = convert(latex, display="block" if block else "inline")
    drawn = re.sub(r"<mo[^>]*>(&#x0007C;|&#x02016;)</mo>", _BAR, drawn)  # no space around |x|
    return f'<{found["tag"]} class="formula">{drawn}</{found["tag"]}>'
