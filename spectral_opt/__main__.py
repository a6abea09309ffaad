"""`python -m spectral_opt`, which is `spectral-opt`."""

import sys

from spectral_opt.cli import main

sys.exit(main())
