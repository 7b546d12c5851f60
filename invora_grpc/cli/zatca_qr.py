"""`invora zatca qr`: what a QR code of ZATCA says, whether it is true, and the code as a picture.

Nothing here calls a gateway or reads pictures: the code comes as the text that a scanner reads, or in a document.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from invora_grpc.cli.output import dumps, terminal_width
from invora_grpc.cli.zatca_files import content
from invora_grpc.errors import RequestError, one_line

if TYPE_CHECKING:
    from invora_grpc.zatca.qr import Qr
    from invora_grpc.zatca.verification import Check

__all__ = ["qr"]

_MARKS: Final = {True: "ok", False: "wrong", None: "unknown"}
_COLOURS: Final = {True: "green", False: "red", None: "bright_black"}


@click.command(epilog="Exit codes: 0 nothing is wrong, 1 something is wrong, 2 it cannot be read.")
@click.argument("code", metavar="[TEXT|FILE|-]", required=False)
@click.option("--xml", "document", metavar="FILE", help="The document to verify the code with.")
@click.option("--png", type=click.Path(dir_okay=False), help="Draw the code into this file, as PNG.")
@click.option("--svg", type=click.Path(dir_okay=False), help="Draw the code into this file, as SVG.")
@click.option("--draw", is_flag=True, help="Draw the code on the terminal.")
@click.option(
    "--scale", type=click.IntRange(1, 64), default=4, show_default=True, help="Pixels for each dot of a picture."
)
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def qr(
    code: str | None,
    document: str | None,
    png: str | None,
    svg: str | None,
    draw: bool,
    scale: int,
    form: str,
) -> None:
    """Read, verify and draw the QR code of a tax document.

    Give the text of the code, a file with it, or the document as XML, whose own code is verified then, and its stamp.
    Whether ZATCA issued the certificate is not looked at.

    \b
    Examples:
      invora zatca qr invoice.xml
      invora zatca qr AQRBY21lAg8zOTk5OTk5OTk5MDAwMDMDEzIwMjQtMDEtMDVUMTA6MjA6MzAEBjExNS4wMAUFMTUuMDA=
      echo AQRBY21lAg8zOTk5OTk5OTk5MDAwMDMDEzIwMjQtMDEtMDVUMTA6MjA6MzAEBjExNS4wMAUFMTUuMDA= >code.txt
      invora zatca qr code.txt --png code.png --draw
      invora zatca qr -o json - <code.txt
      invora zatca qr code.txt --xml invoice.xml  # exit code 1
    """
    if code is None and document is None:
        raise click.UsageError("Give the text of a code, a file, or --xml.")
    if draw and form == "json":
        raise click.UsageError("--draw does not go with -o json.")
    text, xml = _read(code, document)
    found, checks = _verified(text, xml)
    _draw(text, png, svg, scale)
    if draw:
        _on_terminal(text)
    if form == "json":
        click.echo(dumps(_fields(text, found, checks), 2))
    else:
        for row in _rows(found, checks):
            click.echo(row)
    if any(check.ok is False for check in checks):
        click.get_current_context().exit(1)


def _read(code: str | None, document: str | None) -> tuple[str, bytes | None]:
    """The text of the code, and the document to verify it with, if there is one. Raises RequestError."""
    from invora_grpc.zatca.hashing import parsed
    from invora_grpc.zatca.qr import text_of

    xml = None if document is None else content(document)
    if code is None:
        place = document or "xml"
        return text_of(parsed(xml or b"", place), place), xml
    if code != "-" and not os.path.exists(code):
        if "." in code:  # which base64 never has
            raise RequestError("qr", code, "give a file that is there, or the text of a code", "is no file")
        return code, xml
    data = content(code)
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
        return text_of(parsed(data, code), code), data if xml is None else xml
    try:
        return "".join(data.decode().split()), xml
    except UnicodeDecodeError:
        hint = "give the text that a scanner reads from the code, or the document as XML"
        raise RequestError("qr", code, hint, "is no text") from None


def _verified(text: str, xml: bytes | None) -> tuple[Qr, tuple[Check, ...]]:
    """What a code says, and what of it and of the document's stamp is true."""
    from invora_grpc.zatca.hashing import EXT, parsed
    from invora_grpc.zatca.qr import Qr
    from invora_grpc.zatca.verification import check_stamp

    found = Qr.decode(text)
    stamped = xml is not None and parsed(xml).find(f"{EXT}UBLExtensions") is not None
    return found, (*found.verify(xml), *(check_stamp(xml) if xml is not None and stamped else ()))


def _draw(text: str, png: str | None, svg: str | None, scale: int) -> None:
    from invora_grpc.zatca.rendering import render

    if png is not None:
        Path(png).write_bytes(render(text, "png", scale=scale))
    if svg is not None:
        Path(svg).write_bytes(render(text, "svg", scale=scale))


def _on_terminal(text: str) -> None:
    """Draw the code on standard output. Raises RequestError if the terminal is too narrow for it."""
    from invora_grpc.zatca.rendering import render

    drawing = render(text, "terminal").decode()
    wanted, given = max(len(row) for row in drawing.splitlines()), terminal_width(sys.stdout)
    if given is not None and given < wanted:
        hint = f"widen it to {wanted} columns, or draw with --png or --svg"
        raise RequestError("--draw", given, hint, "columns are too few in this terminal")
    click.echo(drawing)


def _values(found: Qr) -> tuple[str, ...]:
    """What is said, by tag; bytes as hexadecimal text."""
    return (
        "",
        found.seller,
        found.vat_number,
        found.timestamp,
        found.total,
        found.tax,
        found.hash,
        found.signature,
        found.public_key.hex(),
        found.certificate_signature.hex(),
    )


def _rows(found: Qr, checks: Iterable[Check]) -> Iterable[str]:
    """The page: a line for each tag, and for each thing that was looked at in the document."""
    values = _values(found)
    yield f"phase {found.phase}"
    for check in checks:
        mark = click.style(f"{_MARKS[check.ok]:<8}", fg=_COLOURS[check.ok])
        label = f"{check.tag} {check.name}" if check.tag else check.name
        value = one_line(values[check.tag], 64)
        yield f"{mark} {label:<27} {value}{': ' if value else ''}{one_line(check.text)}"


def _fields(text: str, found: Qr, checks: tuple[Check, ...]) -> dict[str, Any]:
    from invora_grpc.zatca.qr import FIELDS

    said = {name: value for name, value in zip(FIELDS, _values(found), strict=True) if name and value}
    told = [{"tag": one.tag or None, "name": one.name, "ok": one.ok, "text": one.text} for one in checks]
    return {
        "phase": found.phase,
        "text": text,
        **said,
        "ok": not any(one.ok is False for one in checks),
        "checks": told,
    }
