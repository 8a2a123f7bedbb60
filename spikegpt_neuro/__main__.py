"""``python -m spikegpt_neuro``: the command line."""

from spikegpt_neuro.cli import main

main()
