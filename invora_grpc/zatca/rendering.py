"""QR codes as pictures: PNG, SVG, and text for terminals. Knows nothing of what a code says; needs segno."""

from __future__ import annotations

import io
from typing import Final, Literal

from invora_grpc.errors import RequestError
from invora_grpc.zatca.hashing import require

__all__ = ["FORMS", "Form", "render"]

Form = Literal["png", "svg", "terminal"]
FORMS: Final[tuple[Form, ...]] = ("png", "svg", "terminal")
"""What `render` draws."""
MAX_LENGTH: Final = 2331
"""Characters of the largest QR code (40-M) in bytes, as base64 is written."""


def render(text: str, form: Form = "png", *, scale: int = 4) -> bytes:
    """The QR code of a text as an image file: PNG, or SVG, with `scale` pixels a module and the quiet zone around it.

    For a terminal: lines of block characters in UTF-8 that show light modules as full blocks, for light text on a dark
    ground. Raises RequestError for an empty or too long text, an unknown form or a bad scale, and ConfigError if segno
    is not installed.
    """
    if form not in FORMS:
        raise RequestError("form", form, f"use one of {', '.join(FORMS)}", "is not known")
    if not 1 <= scale <= 64:
        raise RequestError("scale", scale, "use 1 to 64 pixels a module")
    if not 0 < len(text.encode()) <= MAX_LENGTH:
        raise RequestError("text", text, f"give 1 to {MAX_LENGTH} bytes", f"has {len(text.encode())} bytes")
    require("segno")
    import segno

    if form == "terminal":
        lines = io.StringIO()
        segno.make_qr(text, error="l").terminal(lines, border=2, compact=True)  # as narrow as can be
        return lines.getvalue().encode()
    code = segno.make_qr(text, error="m")
    image = io.BytesIO()
    code.save(image, kind=form, scale=scale, border=4, light="white")
    return image.getvalue()
