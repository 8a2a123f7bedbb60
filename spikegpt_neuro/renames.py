"""Renames that decide at one moment: in place of nothing, or both names exchanged.

Linux has both as flags of renameat2(2). Where the kernel or the file system knows neither (NFS and
some others), what POSIX promises of link(2) and rename(2) has to do.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

HERE = -100  # AT_FDCWD
NO_REPLACE, EXCHANGE = 1, 2
NOT_KNOWN = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}


def put(new: Path, target: Path) -> None:
    """Give ``new`` the name ``target``; raises :class:`FileExistsError` if that is taken."""
    try:
        _renameat2(new, target, NO_REPLACE)
    except OSError as error:
        if error.errno in OCCUPIED:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        if error.errno not in NOT_KNOWN:
            raise
        _put_without_flags(new, target)


def replace_directory(new: Path, target: Path, aside: Path) -> None:
    """Put ``new`` at ``target``, where a directory may be; it is left at ``new`` or ``aside``.

    The two are exchanged: a reader finds the old one or the new one at every moment. Where the file
    system cannot, the old one goes ``aside`` first and comes back if ``new`` cannot follow.
    """
    try:
        _renameat2(new, target, EXCHANGE)
    except FileNotFoundError:
        put(new, target)
    except OSError as error:
        if error.errno not in NOT_KNOWN:
            raise
        _replace_in_order(new, target, aside)


def _replace_in_order(new: Path, target: Path, aside: Path) -> None:
    try:
        target.rename(aside)
    except FileNotFoundError:
        put(new, target)
        return
    try:
        new.rename(target)
    except OSError:
        aside.rename(target)
        raise


def _put_without_flags(new: Path, target: Path) -> None:
    """rename(2) never replaces a directory that holds something, link(2) replaces nothing."""
    if new.is_dir():
        try:
            new.rename(target)
        except OSError as error:
            if error.errno in OCCUPIED:
                raise FileExistsError(error.errno, os.strerror(errno.EEXIST)) from error
            raise
        return
    try:
        os.link(new, target)
    except FileExistsError:
        raise
    except OSError:  # no links here: the name is looked at, then taken
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        new.rename(target)


def _renameat2(old: Path, new: Path, flags: int) -> None:
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # another C library
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if call(HERE, os.fsencode(old), HERE, os.fsencode(new), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(new))
