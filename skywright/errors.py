"""The one error that is shown to users without a traceback."""

from __future__ import annotations

import errno
import os

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
IN_THE_WAY = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP,
     errno.EBUSY, errno.ETXTBSY, errno.EIO, errno.ESTALE}
)  # fmt: skip
"""What a path or its disk may be like. A file that is missing is not among them: it may be ours."""


class UserError(Exception):
    """Bad input: the message says what is wrong, where (file, record, field), and what to do.

    The command line prints the message alone and exits with status 1.
    """


def disk_error(error: OSError, where: str = "") -> UserError | None:
    """What a full disk or a missing right is told as, or None if `error` is neither.

    `where` is named when the error itself names no file.
    """
    if error.errno not in FULL | CLOSED:
        return None
    place = str(error.filename or where)
    if error.errno in FULL:
        reason, remedy = os.strerror(error.errno), "free some space"
    else:
        reason, remedy = error.strerror or os.strerror(error.errno), "mend that"
    return UserError(
        f"{place}{': ' if place else ''}{reason}; {remedy} and run the same command again: "
        "what is finished stays, and it goes on from there"
    )


def path_error(error: OSError) -> UserError | None:
    """What the command line tells of a path that cannot be read or written as it is.

    A full disk and a missing right (`disk_error`), and what stands at the path where the error
    names it; None for all else, which may be an error of the program.
    """
    if error.errno in IN_THE_WAY and error.filename is not None:
        reason = error.strerror or os.strerror(error.errno)
        return UserError(
            f"{os.fsdecode(error.filename)}: {reason}; mend that, or name another path"
        )
    return disk_error(error)
