"""Decimals, instants, dates, times and durations: what may be written, what is refused, what comes back."""

from __future__ import annotations

import decimal
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from google.protobuf import duration_pb2
from hypothesis import given
from hypothesis import strategies as st
from values_schema import (
    Decimals,
    Kinds,
    refusal,
)

from invora_grpc.errors import RequestError
from invora_grpc.values import build, from_decimal, to_decimal, to_json, to_python


def parts(value: object) -> tuple[int, int]:
    decimal = build(Kinds, {"decimal": value}).decimal
    return decimal.units, decimal.nanos


# --- decimals -------------------------------------------------------------------------------------------------------


class TestDecimals:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("20.50", (20, 500_000_000)),
            ("-1.5", (-1, -500_000_000)),
            ("-0.000000001", (0, -1)),
            ("+3", (3, 0)),
            (".5", (0, 500_000_000)),
            ("2.", (2, 0)),
            ("1.5e3", (1500, 0)),
            ("-0", (0, 0)),
            (7, (7, 0)),
            (-7, (-7, 0)),
            (Decimal("1E+2"), (100, 0)),
            (Decimal("1.0000000000000"), (1, 0)),
            (Decimal("0E+999999"), (0, 0)),
            ("9223372036854775807.999999999", (2**63 - 1, 999_999_999)),
            ("-9223372036854775808.999999999", (-(2**63), -999_999_999)),
            ({"units": -1, "nanos": -5}, (-1, -5)),
            ({"nanos": 5}, (0, 5)),
            (Decimals(units=3), (3, 0)),
        ],
    )
    def test_are_units_and_nanos_of_one_sign(self, value: object, expected: tuple[int, int]) -> None:
        assert parts(value) == expected

    @pytest.mark.parametrize("value", [1.5, 20.0, math.nan])
    def test_refuse_a_float(self, value: object) -> None:
        assert refusal(Kinds, {"decimal": value}).hint == "a float is not exact: write Decimal('20.50') or '20.50'"

    @pytest.mark.parametrize(
        "value",
        ["1,000", " 1", "1 ", "", "1_000", "٣", "NaN", "0x10", "1.2.3", "--1", "SAR 5", True, object(), [1]],
    )
    def test_refuse_what_is_no_number(self, value: object) -> None:
        assert "numeric string" in refusal(Kinds, {"decimal": value}).hint

    @pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")])
    def test_refuse_what_is_not_finite(self, value: object) -> None:
        assert "finite" in refusal(Kinds, {"decimal": value}).hint

    @pytest.mark.parametrize("value", ["0.0000000001", Decimal("1e-10"), "1e-999999", Decimal("1." + "1" * 200)])
    def test_refuse_more_than_nine_places(self, value: object) -> None:
        assert "9 decimal places" in refusal(Kinds, {"decimal": value}).hint

    @pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "9223372036854775808", "1e19", "1e999999"])
    def test_refuse_more_than_64_bits(self, value: object) -> None:
        assert "64 bits" in refusal(Kinds, {"decimal": value}).hint

    @pytest.mark.parametrize("value", [{"units": 1, "nanos": -1}, Decimals(units=-1, nanos=1)])
    def test_refuse_parts_of_different_sign(self, value: object) -> None:
        error = refusal(Kinds, {"decimal": value})
        assert error.path == "decimal"
        assert "one sign" in error.hint

    def test_refuse_nanos_that_make_a_unit(self) -> None:
        assert "999999999" in refusal(Kinds, {"decimal": {"nanos": 10**9}}).hint

    def test_do_not_depend_on_the_callers_context(self) -> None:
        with decimal.localcontext(decimal.Context(prec=3, traps=[decimal.Inexact])):
            assert parts("1234567.123456789") == (1_234_567, 123_456_789)
            assert to_decimal(Decimals(units=1_234_567, nanos=123_456_789)) == Decimal("1234567.123456789")

    def test_that_no_rule_allows_are_read_in_parts(self) -> None:
        assert to_python(Kinds(decimal=Decimals(units=1, nanos=-1)))["decimal"] == {"units": 1, "nanos": -1}
        with pytest.raises(ValueError, match="one sign"):
            to_decimal(Decimals(units=1, nanos=-1))

    def test_print_in_plain_digits(self) -> None:
        assert to_json(build(Kinds, {"decimal": "20.50"})) == {"decimal": "20.5"}
        assert to_json(build(Kinds, {"decimal": "1e18"})) == {"decimal": "1000000000000000000"}
        assert to_json(build(Kinds, {"decimal": "-1e-9"})) == {"decimal": "-0.000000001"}

    def test_are_written_alone(self) -> None:
        assert from_decimal("1.5", Decimals) == Decimals(units=1, nanos=500_000_000)
        message = Decimals(units=4)
        assert from_decimal(2, message) is message
        assert message.units == 2
        with pytest.raises(RequestError, match=r"^lines\[0\].unit_price: "):
            from_decimal(1.5, Decimals, "lines[0].unit_price")

    @given(st.decimals(places=9, min_value=-(2**63), max_value=2**63 - 1))
    def test_come_back_as_they_went(self, value: Decimal) -> None:
        message = from_decimal(value, Decimals)
        assert to_decimal(message) == value
        assert message.units * message.nanos >= 0
        assert abs(message.nanos) < 10**9
        assert from_decimal(str(value), Decimals) == message == from_decimal(to_json(message), Decimals)


# --- times ----------------------------------------------------------------------------------------------------------


class TestInstants:
    @pytest.mark.parametrize(
        ("value", "seconds", "nanos"),
        [
            (datetime(2026, 11, 21, 9, 30, tzinfo=UTC), 1_795_253_400, 0),
            (datetime(2026, 11, 21, 12, 30, 0, 5, tzinfo=timezone(timedelta(hours=3))), 1_795_253_400, 5_000),
            ("2026-11-21T09:30:00Z", 1_795_253_400, 0),
            ("2026-11-21t12:30:00.123456789+03:00", 1_795_253_400, 123_456_789),
            ("2026-11-21 09:30:00.5z", 1_795_253_400, 500_000_000),
            ("1969-12-31T23:59:59.5Z", -1, 500_000_000),
            (datetime.min.replace(tzinfo=UTC), -62_135_596_800, 0),
            (datetime.max.replace(tzinfo=UTC), 253_402_300_799, 999_999_000),
        ],
    )
    def test_are_seconds_and_nanos(self, value: object, seconds: int, nanos: int) -> None:
        instant = build(Kinds, {"instant": value}).instant
        assert (instant.seconds, instant.nanos) == (seconds, nanos)

    @pytest.mark.parametrize("value", [datetime(2026, 1, 1), "2026-01-01T00:00:00"])
    def test_refuse_a_missing_zone(self, value: object) -> None:
        assert "time zone is missing" in refusal(Kinds, {"instant": value}).hint

    @pytest.mark.parametrize("value", ["2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:00:60Z"])
    def test_refuse_moments_that_never_were(self, value: object) -> None:
        assert "no such moment" in refusal(Kinds, {"instant": value}).hint

    @pytest.mark.parametrize("value", ["yesterday", "2026-01-01", date(2026, 1, 1), 1_700_000_000, 1.5, []])
    def test_refuse_what_is_no_moment(self, value: object) -> None:
        assert "RFC 3339" in refusal(Kinds, {"instant": value}).hint

    @pytest.mark.parametrize("value", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", {"seconds": 2**60}])
    def test_refuse_years_out_of_range(self, value: object) -> None:
        assert "years 1 to 9999" in refusal(Kinds, {"instant": value}).hint

    def test_with_nanoseconds_are_read_as_text(self) -> None:
        assert to_python(build(Kinds, {"instant": "2026-01-01T00:00:00.000000001Z"})) == {
            "instant": "2026-01-01T00:00:00.000000001Z"
        }

    def test_out_of_range_are_read_in_parts(self) -> None:
        assert to_python(Kinds(instant={"seconds": 2**60})) == {"instant": {"seconds": 2**60, "nanos": 0}}

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_come_back_as_they_went(self, value: datetime) -> None:
        message = build(Kinds, {"instant": value})
        assert to_python(message) == {"instant": value}
        assert build(Kinds, to_json(message)) == message == build(Kinds, {"instant": value.isoformat()})


class TestDates:
    @pytest.mark.parametrize("value", [date(2026, 11, 21), "2026-11-21", {"year": 2026, "month": 11, "day": 21}])
    def test_are_year_month_day(self, value: object) -> None:
        assert to_python(build(Kinds, {"day": value})) == {"day": date(2026, 11, 21)}

    def test_refuse_a_datetime(self) -> None:
        assert "zone decides the day" in refusal(Kinds, {"day": datetime(2026, 1, 1, tzinfo=UTC)}).hint

    @pytest.mark.parametrize("value", ["2026-02-30", "20260101", "2026-01-01T00:00Z", 2026, {"day": 5}, {"month": 13}])
    def test_refuse_what_is_no_day(self, value: object) -> None:
        assert refusal(Kinds, {"day": value}).path == "day"

    @pytest.mark.parametrize("value", [{"year": 2026, "month": 0, "day": 0}, {"year": 0, "month": 2, "day": 29}])
    def test_may_be_partial_as_a_dict(self, value: Mapping[str, object]) -> None:
        assert to_python(build(Kinds, {"day": value})) == {"day": value}


class TestTimesOfDay:
    @pytest.mark.parametrize(
        ("value", "back"),
        [
            (time(9, 30), time(9, 30)),
            ("09:30", time(9, 30)),
            ("09:30:15.000001", time(9, 30, 15, 1)),
            ("09:30:15.000000001", "09:30:15.000000001"),
            ("24:00", "24:00:00"),
            (time(0), time(0)),
        ],
    )
    def test_take_times_and_text(self, value: object, back: object) -> None:
        assert to_python(build(Kinds, {"clock": value})) == {"clock": back}

    def test_refuse_a_zone(self) -> None:
        assert "no zone" in refusal(Kinds, {"clock": time(9, tzinfo=UTC)}).hint

    @pytest.mark.parametrize("value", ["9:30", "24:01", "09:60", "noon", 9, {"hours": 25}])
    def test_refuse_what_is_no_time(self, value: object) -> None:
        assert refusal(Kinds, {"clock": value}).path == "clock"


class TestDurations:
    @pytest.mark.parametrize(
        ("value", "seconds", "nanos"),
        [
            (timedelta(days=1, microseconds=1), 86_400, 1_000),
            (timedelta(seconds=-1.5), -1, -500_000_000),
            ("3.5s", 3, 500_000_000),
            ("-0.000000001s", 0, -1),
        ],
    )
    def test_are_seconds_and_nanos_of_one_sign(self, value: object, seconds: int, nanos: int) -> None:
        span = build(Kinds, {"span": value}).span
        assert (span.seconds, span.nanos) == (seconds, nanos)

    @pytest.mark.parametrize("value", [5, 1.5, "5", "5 s", "999999999999s", timedelta.max, {"seconds": 1, "nanos": -1}])
    def test_refuse_the_rest(self, value: object) -> None:
        assert refusal(Kinds, {"span": value}).path == "span"

    def test_of_generated_classes_read_alike(self) -> None:
        assert to_json(duration_pb2.Duration(seconds=-3, nanos=-500_000_000)) == "-3.500s"

    @given(st.timedeltas(min_value=timedelta(days=-3_652_500), max_value=timedelta(days=3_652_500)))
    def test_come_back_as_they_went(self, value: timedelta) -> None:
        message = build(Kinds, {"span": value})
        assert to_python(message) == {"span": value}
        assert build(Kinds, to_json(message)) == message
