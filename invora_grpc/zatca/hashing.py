"""The hash of a tax document, as ZATCA's security features standard defines it, and the safe reading of XML for it.

Nothing here signs, checks rules or makes documents. XML is read without entities, DTD and network. Needs lxml.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from invora_grpc.errors import ConfigError, RequestError, one_line

if TYPE_CHECKING:
    from lxml import etree

__all__ = [
    "CAC",
    "CBC",
    "EXT",
    "FIRST_HASH",
    "MAX_BYTES",
    "cut",
    "hex_digest",
    "invoice_hash",
    "is_qr",
    "parsed",
    "require",
    "tree_hash",
]

FIRST_HASH: Final = "NWZlY2ViNjZmZmM4NmYzOGQ5NTI3ODZjNmQ2OTZjNzljMmRiYzIzOWRkNGU5MWI0NjcyOWQ3M2EyN2ZiNTdlOQ=="
"""The previous hash of the first document of a chain: base64 of the hexadecimal text of sha256("0")."""
MAX_BYTES: Final = 10 * 1024 * 1024
"""The largest document that is read."""
CAC: Final = "{urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2}"
"""The namespace of UBL's aggregates, before a name."""
CBC: Final = "{urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2}"
"""The namespace of UBL's basic elements, before a name."""
EXT: Final = "{urn:oasis:names:specification:ubl:schema:xsd:CommonExtensionComponents-2}"
"""The namespace of UBL's extensions, before a name."""
_REFERENCE: Final = f"{CAC}AdditionalDocumentReference"
_NOT_HASHED: Final = (f"{EXT}UBLExtensions", f"{CAC}Signature", _REFERENCE)


def require(package: str) -> None:
    """Import a package of the extra `zatca`, so that an import statement after this succeeds.

    Raises ConfigError if it is not installed.
    """
    if sys.modules.get(package) is None:
        try:
            import_module(package)
        except ImportError:
            raise ConfigError(package, None, "pip install 'invora-grpc[zatca]'", "is not installed here") from None


def parsed(xml: bytes, path: str = "xml") -> etree._Element:
    """The root of a document, read without entities, DTD and network. `path` names it in errors.

    Raises RequestError for what is no XML, has a DOCTYPE, or more than MAX_BYTES; ConfigError if lxml is missing.
    """
    require("lxml")
    from lxml import etree

    if not isinstance(xml, bytes):
        raise RequestError(path, xml, "give the bytes of the document, as they were read", "is no bytes")
    if len(xml) > MAX_BYTES:
        raise RequestError(path, len(xml), f"give at most {MAX_BYTES} bytes", "bytes are too many for a document")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(xml, parser)
    except etree.XMLSyntaxError as error:
        raise RequestError(path, xml[:40], "give a whole XML document", f"is no XML: {one_line(error.msg)}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise RequestError(path, xml[:40], "leave the DOCTYPE out: tax documents have none", "has a DOCTYPE")
    return root


def invoice_hash(xml: bytes) -> str:
    """The hash of a document: base64 of SHA-256 over its canonical form (C14N 1.1) without stamp and QR code.

    Left out are `ext:UBLExtensions`, `cac:Signature` and the `cac:AdditionalDocumentReference` whose ID is QR; the
    whitespace around them stays. Raises what `parsed` does.
    """
    return _digest(parsed(xml).getroottree())


def tree_hash(root: etree._Element) -> str:
    """`invoice_hash` of a document that was parsed already, by its root. The tree stays as it is."""
    return _digest(copy.deepcopy(root.getroottree()))


def hex_digest(data: bytes) -> str:
    """Base64 of the hexadecimal text of SHA-256: how ZATCA writes the digests of certificates and signed properties."""
    return base64.b64encode(hashlib.sha256(data).hexdigest().encode()).decode()


def _digest(tree: etree._ElementTree) -> str:
    """The hash of a tree, which loses its stamp."""
    from lxml import etree

    for element in list(tree.getroot().iter(*_NOT_HASHED)):
        if element.tag != _REFERENCE or is_qr(element):
            cut(element)
    # Of a whole document, version 1.1 of the canonical form is that of 1.0: they differ in parts of one only.
    canonical = etree.tostring(tree, method="c14n", with_comments=False)
    return base64.b64encode(hashlib.sha256(canonical).digest()).decode()


def is_qr(reference: etree._Element) -> bool:
    """Whether an additional document reference is that of the QR code."""
    return reference.findtext(f"{CBC}ID") == "QR"


def cut(element: etree._Element) -> None:
    """Take an element out of its tree; the text after it stays."""
    parent = element.getparent()
    if parent is None:
        return
    before, tail = element.getprevious(), element.tail or ""
    if before is None:
        parent.text = (parent.text or "") + tail
    else:
        before.tail = (before.tail or "") + tail
    parent.remove(element)
