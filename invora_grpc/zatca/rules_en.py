"""ZATCA's edition of EN 16931, all of it: the books of the rooms `rules_en_*`, in one.

The ids are the standard's, but for a few lengths of fields; conditions and severities are those of ZATCA's SDK R3.4.8,
which in places asks for less than the standard; the words are this project's. ZATCA's own sheet is in `rules_ksa*`.
"""

from __future__ import annotations

from typing import Final

from invora_grpc.zatca import rules_en_codes, rules_en_document, rules_en_lines, rules_en_totals, rules_en_vat
from invora_grpc.zatca.engine import Rulebook

__all__ = ["BOOK", "SILENT"]

BOOK: Final = Rulebook()
for _book in (
    rules_en_document.BOOK,
    rules_en_totals.BOOK,
    rules_en_lines.BOOK,
    rules_en_vat.BOOK,
    rules_en_codes.BOOK,
):
    BOOK.rules += _book.rules

SILENT: Final = frozenset({"BR-41", "BR-DEC-24", "BR-DEC-25"})
"""Rules of ZATCA's sheet about allowances on lines that never speak: an empty rule before them takes their elements."""
