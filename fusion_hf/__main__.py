"""`python -m fusion_hf`: the same as `fusion-hf`, for launchers that want a module (accelerate, torchrun)."""

import sys

from .cli import main

sys.exit(main())
