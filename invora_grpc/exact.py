"""Exact numbers, dates and times as the whole numbers that the wire carries.

The room holds the arithmetic between Python's own types (or their text) and integer parts: units and nanos, seconds
and nanos, year, month and day. It must not know messages, descriptors or field paths, and it never rounds: what does
not fit is a ValueError whose text says what to write instead.
"""

from __future__ import annotations

import decimal
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

BILLION = 1_000_000_000
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z
LONGEST_DURATION = 315_576_000_000  # seconds, ten thousand years: the limit of google.protobuf.Duration

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,6})?", re.ASCII)
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?", re.ASCII)
_DURATION = re.compile(r"([+-]?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_EXACTLY = decimal.Context(
    prec=60, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[decimal.Inexact, decimal.InvalidOperation]
)
_SCALE = Decimal(BILLION)
_add = _EXACTLY.add
_from_timestamp = datetime.fromtimestamp
_FLOAT_SECONDS = 2**32  # until the year 2106 a float of seconds tells microseconds apart

DECIMAL_HINT = "write a Decimal, an int or a numeric string such as '20.50'"
INSTANT_HINT = "write a datetime with a time zone, or RFC 3339 text such as '2026-11-21T09:30:00Z'"
DATE_HINT = "write a date, or text such as '2026-11-21'"
TIME_HINT = "write a time without zone, or text such as '09:30:00'"
DURATION_HINT = "write a timedelta, or text in seconds such as '3.5s'"


# --- decimals: units and nanos, both of one sign ------------------------------------------------------------------


def decimal_parts(value: object) -> tuple[int, int]:
    """Units and nanos of a Decimal, an int or numeric text; ValueError unless 64-bit units and 9 places hold it."""
    if type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return value, 0
    if type(value) in (Decimal, str):
        whole, _, fraction = str(value).partition(".")  # most amounts are digits and a dot, also as Decimals
        nanos = _NANOS[fraction] if len(fraction) < 4 else _billionths(fraction)
        if nanos is not None and len(whole) < 19 and whole.isdigit() and whole.isascii():
            return int(whole), nanos
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise ValueError(f"{DECIMAL_HINT}: digits and one dot, without spaces or thousands separators")
        value = Decimal(value)
    elif isinstance(value, float):
        raise ValueError("a float is not exact: write Decimal('20.50') or '20.50'")
    elif isinstance(value, bool) or not isinstance(value, (Decimal, int)):
        raise ValueError(DECIMAL_HINT)
    total = _in_nanos(value) if isinstance(value, Decimal) else int(value) * BILLION
    units, nanos = divmod(total, BILLION) if total >= 0 else (-(-total // BILLION), -(-total % BILLION))
    if not INT64_MIN <= units <= INT64_MAX:
        raise ValueError("the whole part must fit 64 bits, -9223372036854775808 to 9223372036854775807")
    return units, nanos


def _in_nanos(value: Decimal) -> int:
    if not value.is_finite():
        raise ValueError("NaN and Infinity are no amounts: write a finite number")
    if value.adjusted() > 18 and value:  # past any 64-bit number: stop before a huge exponent costs memory
        raise ValueError("the whole part must fit 64 bits, -9223372036854775808 to 9223372036854775807")
    try:
        scaled = _EXACTLY.multiply(value, _SCALE)
    except decimal.Inexact:
        scaled = None
    if scaled is None or (total := int(scaled)) != scaled:
        raise ValueError("at most 9 decimal places: round it first, as in value.quantize(Decimal('0.01'))")
    return total


class _Nanos(dict[str, int | None]):
    """Digits after the dot, as nanos; None for what is no digits. Asked for up to three places, and keeps them."""

    def __missing__(self, fraction: str) -> int | None:
        nanos = _billionths(fraction)
        if nanos is not None:
            self[fraction] = nanos  # 1,111 entries at most
        return nanos


_NANOS = _Nanos({"": 0})


def _billionths(fraction: str) -> int | None:
    """Up to nine ASCII digits as nanos; None for anything else."""
    return int(fraction.ljust(9, "0")) if len(fraction) < 10 and fraction.isdigit() and fraction.isascii() else None


class _Fractions(dict[int, Decimal]):
    """Nanos as Decimal, without trailing zeros; ValueError from one billion on. Keeps those of up to three places."""

    def __missing__(self, nanos: int) -> Decimal:
        check_decimal(0, nanos)
        fraction = _EXACTLY.normalize(_EXACTLY.scaleb(Decimal(nanos), -9))
        if not nanos % 1_000_000:  # no currency has more places: 1,998 entries at most
            self[nanos] = fraction
        return fraction


_FRACTIONS = _Fractions()


def decimal_of(units: int, nanos: int) -> Decimal:
    """The Decimal of units and nanos, without trailing zeros; ValueError as for `check_decimal`."""
    if not nanos:
        return Decimal(units)
    if units and (units ^ nanos) < 0:
        check_decimal(units, nanos)
    return _add(units, _FRACTIONS[nanos])


def decimal_text(units: int, nanos: int) -> str:
    """Units and nanos in plain digits, never with an exponent; ValueError as for `decimal_of`."""
    return format(decimal_of(units, nanos), "f")


def check_decimal(units: int, nanos: int) -> None:
    """ValueError unless |nanos| is below one billion and the two parts have one sign."""
    if not -BILLION < nanos < BILLION:
        raise ValueError(f"nanos must be -999999999 to 999999999, not {nanos}")
    if units * nanos < 0:
        raise ValueError(
            f"units and nanos must have one sign, not {units} and {nanos}: -1.5 is units -1, nanos -500000000"
        )


# --- instants: seconds since 1970 in UTC, and nanos from 0 up -----------------------------------------------------


def instant_parts(value: object) -> tuple[int, int]:
    """Seconds since 1970-01-01T00:00:00Z and nanos of an aware datetime or RFC 3339 text (1 to 9 fraction digits)."""
    if isinstance(value, datetime):
        nanos = 0
    elif isinstance(value, str):
        value, nanos = _parse_instant(value)
    else:
        raise ValueError(INSTANT_HINT)
    if value.tzinfo is not UTC and value.utcoffset() is None:
        raise ValueError("the time zone is missing: add tzinfo=timezone.utc, or the zone that is meant")
    since = value - EPOCH
    seconds = since.days * 86_400 + since.seconds
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise ValueError("an instant must lie in the years 1 to 9999 of UTC")
    return seconds, nanos + since.microseconds * 1000


def _parse_instant(text: str) -> tuple[datetime, int]:
    match = _INSTANT.fullmatch(text)
    if not match:
        raise ValueError(INSTANT_HINT)
    day, clock, fraction, zone = match.groups()
    if zone is None:
        raise ValueError("the time zone is missing: end the text with Z, or with an offset such as +03:00")
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError as problem:
        raise ValueError(f"no such moment ({problem}): {INSTANT_HINT}") from None
    return moment, _nanos(fraction)


def instant_of(seconds: int, nanos: int) -> datetime | str:
    """The aware UTC datetime, or RFC 3339 text where that would lose digits; ValueError as for `check_instant`."""
    if nanos % 1000:
        return instant_text(seconds, nanos)
    if 0 <= seconds < _FLOAT_SECONDS and 0 <= nanos < BILLION:
        return _from_timestamp(seconds + nanos / 1e9 if nanos else seconds, UTC)
    return _moment(seconds, nanos)


def instant_text(seconds: int, nanos: int) -> str:
    """RFC 3339 text in UTC with Z and 0, 3, 6 or 9 fraction digits; ValueError as for `check_instant`."""
    return f"{_moment(seconds, nanos).isoformat()[:19]}{_fraction(nanos)}Z"


def check_instant(seconds: int, nanos: int) -> None:
    """ValueError unless the instant lies in the years 1 to 9999 and nanos count up from 0 to 999,999,999."""
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < BILLION):
        raise ValueError("an instant has seconds within the years 1 to 9999, and nanos from 0 to 999999999")


def _moment(seconds: int, nanos: int) -> datetime:
    check_instant(seconds, nanos)
    return EPOCH + timedelta(0, seconds, nanos // 1000)


# --- durations: seconds and nanos of one sign ---------------------------------------------------------------------


def duration_parts(value: object) -> tuple[int, int]:
    """Seconds and nanos of a timedelta or of text such as '3.5s'."""
    if isinstance(value, timedelta):
        total = (value.days * 86_400 + value.seconds) * BILLION + value.microseconds * 1000
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        sign, whole, fraction = match.groups()
        total = (int(whole) * BILLION + _nanos(fraction)) * (-1 if sign == "-" else 1)
    else:
        raise ValueError(DURATION_HINT)
    seconds, nanos = divmod(abs(total), BILLION)
    parts = (seconds, nanos) if total >= 0 else (-seconds, -nanos)
    check_duration(*parts)
    return parts


def check_duration(seconds: int, nanos: int) -> None:
    """ValueError unless it is within ten thousand years, |nanos| is below one billion, and both have one sign."""
    if abs(seconds) > LONGEST_DURATION or not -BILLION < nanos < BILLION or seconds * nanos < 0:
        raise ValueError("a duration has at most 315576000000 seconds, nanos below one billion, and one sign for both")


def duration_of(seconds: int, nanos: int) -> timedelta | str:
    """The timedelta, or text where that would lose digits; ValueError as for `check_duration`."""
    check_duration(seconds, nanos)
    return duration_text(seconds, nanos) if nanos % 1000 else timedelta(0, seconds, nanos // 1000)


def duration_text(seconds: int, nanos: int) -> str:
    """The duration in seconds with the suffix s; ValueError as for `check_duration`."""
    check_duration(seconds, nanos)
    return f"{'-' if seconds < 0 or nanos < 0 else ''}{abs(seconds)}{_fraction(abs(nanos))}s"


# --- calendar dates: year, month, day; zeros where a part is not said ---------------------------------------------


def date_parts(value: object) -> tuple[int, int, int]:
    """Year, month and day of a date or of ISO text; a datetime is refused, because its zone decides which day it is."""
    if isinstance(value, datetime):
        raise ValueError("a datetime is not a date: its zone decides the day, so write moment.date()")
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            value = date.fromisoformat(value)
        except ValueError as problem:
            raise ValueError(f"no such day ({problem}): {DATE_HINT}") from None
    if not isinstance(value, date):
        raise ValueError(DATE_HINT)
    return value.year, value.month, value.day


def check_date(year: int, month: int, day: int) -> None:
    """ValueError unless the parts are a day of the calendar, where 0 stands for a part that is left open."""
    if day and not month:
        raise ValueError("a date with a day needs its month")
    try:
        date(year or 2000, month or 1, day or 1)  # 2000 is a leap year: 29 February without a year is a day
    except ValueError as problem:
        raise ValueError(
            f"no such day ({problem}): year 0 to 9999, month 0 to 12, day 0 to 31, 0 for a part left open"
        ) from None


def date_of(year: int, month: int, day: int) -> date:
    """The date; ValueError for a partial or impossible one."""
    return date(year, month, day)


def date_text(year: int, month: int, day: int) -> str:
    """ISO text of the date; ValueError for a partial or impossible one."""
    return date(year, month, day).isoformat()


# --- times of day: hours, minutes, seconds, nanos -----------------------------------------------------------------


def time_parts(value: object) -> tuple[int, int, int, int]:
    """Hours, minutes, seconds and nanos of a naive time, or of text `HH:MM`, `HH:MM:SS` or `HH:MM:SS.nnnnnnnnn`."""
    if isinstance(value, time):
        if value.tzinfo is not None:
            raise ValueError("a time of day has no zone: write value.replace(tzinfo=None)")
        return value.hour, value.minute, value.second, value.microsecond * 1000
    if not isinstance(value, str) or not (match := _TIME.fullmatch(value)):
        raise ValueError(TIME_HINT)
    hours, minutes, seconds, fraction = match.groups()
    parts = (int(hours), int(minutes), int(seconds or 0), _nanos(fraction))
    check_time(*parts)
    return parts


def check_time(hours: int, minutes: int, seconds: int, nanos: int) -> None:
    """ValueError unless the parts are a time of day, where 24:00:00 is the end of the day."""
    within = 0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 60 and 0 <= nanos < BILLION
    if not within and (hours, minutes, seconds, nanos) != (24, 0, 0, 0):
        raise ValueError(f"no such time of day (00:00:00 to 24:00:00): {TIME_HINT}")


def time_of(hours: int, minutes: int, seconds: int, nanos: int) -> time | str:
    """The time; text where a time would lose digits, and for 24:00:00; ValueError as for `check_time`."""
    check_time(hours, minutes, seconds, nanos)
    if nanos % 1000 or hours == 24:
        return time_text(hours, minutes, seconds, nanos)
    return time(hours, minutes, seconds, nanos // 1000)


def time_text(hours: int, minutes: int, seconds: int, nanos: int) -> str:
    """The time of day as HH:MM:SS with 0, 3, 6 or 9 fraction digits; ValueError as for `check_time`."""
    check_time(hours, minutes, seconds, nanos)
    return f"{hours:02}:{minutes:02}:{seconds:02}{_fraction(nanos)}"


def _nanos(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    digits = f"{nanos:09}"
    return "." + (digits[:3] if digits.endswith("000000") else digits[:6] if digits.endswith("000") else digits)
