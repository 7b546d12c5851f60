"""The embedded sandbox: a gateway and an identity provider on loopback, with their state in SQLite.

It is for development and tests. It holds no real data, listens on 127.0.0.1, and nothing in the client imports it.
Import the submodule you need; this package imports nothing itself.
"""
