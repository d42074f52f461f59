"""`python -m fusion_hf.cli`: the same as `fusion-hf`, for launchers that want a module (accelerate, torchrun)."""

import sys

from . import main

sys.exit(main())
