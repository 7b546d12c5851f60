"""Makes the client of a target: the one place where the command line turns options into a client.

It loads grpc, and so is loaded by the commands that call only.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from invora_grpc.call import CallOptions, organization, seconds
from invora_grpc.channel import ClientCertificate, open_channel
from invora_grpc.client import Invora
from invora_grpc.connection import Connection
from invora_grpc.errors import ConfigError

if TYPE_CHECKING:
    from invora_grpc.auth import TokenSource
    from invora_grpc.cli.targets import Files, Target

__all__ = ["client_of"]


def client_of(target: Target, tokens: TokenSource) -> Invora:
    """A client of the target's gateway, organization, deadline and metadata; its variables are not read again.

    Raises ConfigError, also for files that cannot be read.
    """
    settings, files = target.settings, target.files
    connection = Connection(
        settings,
        open_channel,
        time.sleep,
        tokens=tokens,
        schema=target.schema,
        root_certificates=None if files.cacert is None else _pem("cacert", files.cacert),
        client_certificate=_certificate(files),
    )
    org = None if settings.org_id is None else organization(settings.org_id)
    timeout = seconds("timeout", target.timeout)
    options = CallOptions(org=org, timeout=timeout, stream_timeout=timeout, metadata=target.headers)
    return Invora._derived(connection, Invora._with_source(options, tokens))


def _certificate(files: Files) -> ClientCertificate | None:
    if files.cert is None and files.key is None:
        return None
    if files.cert is None or files.key is None:
        missing, given = ("cert", "key") if files.cert is None else ("key", "cert")
        raise ConfigError(missing, None, f"give --{missing} too, or leave --{given} away", "is missing")
    return ClientCertificate((_pem("key", files.key), _pem("cert", files.cert)))


def _pem(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(option, path, "give the path of a PEM file", error.strerror or str(error)) from None
