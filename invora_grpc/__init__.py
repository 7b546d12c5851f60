"""invora-grpc: the gRPC-native Python client and codegen toolkit for Invora.

    from invora_grpc import Invora

    with Invora() as client:                       # settings from INVORA_* variables
        for invoice in client.simple.invoices.list.items(filter={"text_search": "INV"}):
            print(invoice.number)

Importing this package loads neither grpc nor protobuf: every name below is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing typing would be nearly all of this package's import
if TYPE_CHECKING:
    from invora_grpc.aio import AsyncInvora as AsyncInvora
    from invora_grpc.auth import CallableToken as CallableToken
    from invora_grpc.auth import ClientCredentials as ClientCredentials
    from invora_grpc.auth import Impersonation as Impersonation
    from invora_grpc.auth import RefreshToken as RefreshToken
    from invora_grpc.auth import StaticToken as StaticToken
    from invora_grpc.auth import TokenSource as TokenSource
    from invora_grpc.client import Invora as Invora
    from invora_grpc.config import Secret as Secret
    from invora_grpc.errors import ClosedError as ClosedError
    from invora_grpc.errors import ConfigError as ConfigError
    from invora_grpc.errors import InvoraError as InvoraError
    from invora_grpc.errors import RequestError as RequestError
    from invora_grpc.errors import SchemaDriftError as SchemaDriftError
    from invora_grpc.errors import SchemaError as SchemaError
    from invora_grpc.errors import SignInError as SignInError
    from invora_grpc.errors import UnconfirmedSchema as UnconfirmedSchema
    from invora_grpc.filters import Expression as Expression
    from invora_grpc.filters import F as F
    from invora_grpc.journal import Journal as Journal
    from invora_grpc.journal import JournalError as JournalError
    from invora_grpc.paging import CursorExpired as CursorExpired
    from invora_grpc.paging import CursorLoop as CursorLoop
    from invora_grpc.paging import MoreExists as MoreExists
    from invora_grpc.reading import to_decimal as to_decimal
    from invora_grpc.reading import to_json as to_json
    from invora_grpc.reading import to_python as to_python
    from invora_grpc.retry import Reconciliation as Reconciliation
    from invora_grpc.retry import Retry as Retry
    from invora_grpc.schema.reflection import ReflectionError as ReflectionError
    from invora_grpc.status import Aborted as Aborted
    from invora_grpc.status import AlreadyExists as AlreadyExists
    from invora_grpc.status import Cancelled as Cancelled
    from invora_grpc.status import DataLoss as DataLoss
    from invora_grpc.status import DeadlineExceeded as DeadlineExceeded
    from invora_grpc.status import FailedPrecondition as FailedPrecondition
    from invora_grpc.status import Internal as Internal
    from invora_grpc.status import InvalidArgument as InvalidArgument
    from invora_grpc.status import NotFound as NotFound
    from invora_grpc.status import OutcomeUnknown as OutcomeUnknown
    from invora_grpc.status import OutOfRange as OutOfRange
    from invora_grpc.status import PermissionDenied as PermissionDenied
    from invora_grpc.status import ResourceExhausted as ResourceExhausted
    from invora_grpc.status import RpcError as RpcError
    from invora_grpc.status import Unauthenticated as Unauthenticated
    from invora_grpc.status import Unavailable as Unavailable
    from invora_grpc.status import Unimplemented as Unimplemented
    from invora_grpc.status import Unknown as Unknown
    from invora_grpc.values import build as build

__version__ = "0.1.0"

_ROOMS = {
    "aio": ("AsyncInvora",),
    "auth": ("CallableToken", "ClientCredentials", "Impersonation", "RefreshToken", "StaticToken", "TokenSource"),
    "client": ("Invora",),
    "config": ("Secret",),
    "errors": (
        *("ClosedError", "ConfigError", "InvoraError", "RequestError", "SchemaDriftError", "SchemaError"),
        *("SignInError", "UnconfirmedSchema"),
    ),
    "filters": ("Expression", "F"),
    "journal": ("Journal", "JournalError"),
    "paging": ("CursorExpired", "CursorLoop", "MoreExists"),
    "reading": ("to_decimal", "to_json", "to_python"),
    "retry": ("Reconciliation", "Retry"),
    "schema.reflection": ("ReflectionError",),
    "status": (
        *("Aborted", "AlreadyExists", "Cancelled", "DataLoss", "DeadlineExceeded", "FailedPrecondition", "Internal"),
        *("InvalidArgument", "NotFound", "OutOfRange", "OutcomeUnknown", "PermissionDenied", "RpcError"),
        *("ResourceExhausted", "Unauthenticated", "Unavailable", "Unimplemented", "Unknown"),
    ),
    "values": ("build",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

if not TYPE_CHECKING:  # type checkers take the imports above, by which a misspelt name is an error
    __all__ = sorted(_ROOM_OF)

    def __getattr__(name):
        room = _ROOM_OF.get(name)
        if room is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{room}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})
