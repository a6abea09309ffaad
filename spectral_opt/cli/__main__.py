"""`python -m spectral_opt.cli`."""

import sys

from spectral_opt.cli import main

sys.exit(main())
