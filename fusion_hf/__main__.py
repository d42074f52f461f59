"""`python -m fusion_hf`: the same as `fusion-hf`."""

import sys

from .cli import main

sys.exit(main())
