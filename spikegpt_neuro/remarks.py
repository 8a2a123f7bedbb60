"""Remarks: what a user should know although the work goes on.

The command line shows them on standard error (not with ``--quiet``) and lists them as ``remarks``
in JSON; in Python they are warnings of the logger ``spikegpt_neuro.remarks``.
"""

from __future__ import annotations

import logging

REMARKS = logging.getLogger("spikegpt_neuro.remarks")


def remark(text: str) -> None:
    """Tell the user ``text``, one line."""
    REMARKS.warning("%s", text)
