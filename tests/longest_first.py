"""Which files of tests take long: they begin first, so that no worker waits for one that began last."""

from __future__ import annotations

import pytest

LONGEST = (
    *("test_commit_matrix", "test_drift", "test_cli_docs", "test_faults_async", "test_changes", "test_gen"),
    *("test_ci_recipes", "test_zatca_oracle", "test_faults", "test_reflection_hostile", "test_limits"),
    *("test_tenancy_under_load", "test_registry", "test_cli_secrets", "test_tools", "test_plugin_others"),
    *("test_isolation", "test_plugin_names", "test_typing", "test_journal", "test_changes_properties"),
    *("test_cli_snippets", "test_sandbox_registration", "test_zatca_issuing_failures", "test_zatca_mutations"),
    *("test_codegen", "test_call_ends", "test_crash_idempotency", "test_fork_and_pickle", "test_packaging"),
)
"""The files of more than 8 s, the longest first; the order of the others does not matter."""


def longest_first(items: list[pytest.Item]) -> None:
    """Put tests in the order of their files."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


def keep_order(config: pytest.Config) -> None:
    """Have pytest-xdist give files to workers in that order: else those with the most tests begin first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
