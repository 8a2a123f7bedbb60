"""How much memory this process has used."""

from __future__ import annotations

import re
import resource
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_rss_bytes() -> int:
    """Largest resident set of this process so far, in bytes.

    Linux's ``VmHWM`` where there is one: ``ru_maxrss`` would include the parent's memory of
    the moment at which it started this process.
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    except OSError:
        found = None
    kibibytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes * 1024
