"""`python -m invora_grpc.cli` is `invora`."""

import sys

from invora_grpc.cli import main

sys.exit(main())
