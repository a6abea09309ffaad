"""`python -m paramgraph`, which is `paramgraph`."""

import sys

from paramgraph.cli import main

sys.exit(main())
