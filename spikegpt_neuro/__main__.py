"""``python -m spikegpt_neuro``: the command line."""

import os
import sys

# ``python -m`` looks for modules in the current folder first: a random.py there is none of ours.
if sys.path and sys.path[0] in ("", os.getcwd()) and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

from spikegpt_neuro.cli import main

main()
