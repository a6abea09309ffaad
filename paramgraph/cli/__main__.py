"""`python -m paramgraph.cli`."""

import sys

from paramgraph.cli import main

sys.exit(main())
