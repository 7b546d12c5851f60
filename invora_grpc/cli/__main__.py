"""`python -m invora_grpc.cli` is `invora`."""

from invora_grpc.cli import main

main(prog_name="invora")
