"""The source text of a generated package's `client.py`: `Client` and `AsyncClient`, typed by the package's own tree."""

from __future__ import annotations

_TEXT = '''"""The clients of {package}: `Client`, and `AsyncClient` for asyncio.

    from {package}.client import Client

    with Client("https://host", token=token) as client:
        client.<module>.<area>.<rpc>(field=value)

Settings that are not given are read from {prefix}_ENDPOINT, {prefix}_TOKEN, and so on; without credentials, calls go
without authorization. See `invora_grpc.packaged.PackageClient` for all arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from invora_grpc.packaged import AsyncPackageClient, PackageClient

if TYPE_CHECKING:
    from {package}.clients import AsyncTree, SyncTree
else:  # at run time, the tree comes from the catalog
    AsyncTree = SyncTree = object

__all__ = ["AsyncClient", "Client"]


class Client(PackageClient, SyncTree):
    """A client of {package}, whose services are its attributes."""

    _package = "{package}"


class AsyncClient(AsyncPackageClient, AsyncTree):
    """A client of {package} for asyncio, whose services are its attributes."""

    _package = "{package}"
'''


def render(package: str) -> str:
    """The whole text of client.py. `package`: where it is imported from, with dots if it is within another."""
    return _TEXT.format(package=package, prefix=package.replace(".", "_").upper())
