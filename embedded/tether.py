"""Become another program that is told to stop when its starter dies, as another user if one is named.

Run by path, so that it starts in milliseconds: `tether.py STARTER SIGNAL ACCOUNT COMMAND...`, where ACCOUNT
is a user name or "-". The program keeps this process's id. Only Linux can tie a process to its starter;
elsewhere the next start finds what was left over and ends it.
"""

import ctypes
import os
import pwd
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


def main() -> None:
    """Drop to the account, tie this process to its starter, and become the command."""
    starter, death_signal, account, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if account != "-":
        become(account, libc, command[0])
    if sys.platform == "linux":
        # After the change of user, which would reset it.
        call(libc.prctl, PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(starter):
        sys.exit("The process that started this one is gone.")
    os.execv(command[0], command)


def become(account: str, libc: ctypes.CDLL, program: str) -> None:
    """Run as the account from here on, still able to reach the program and the current folder."""
    entry = pwd.getpwnam(account)
    call(libc.prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME="/", USER=account, LOGNAME=account)
    if not (os.access(program, os.X_OK) and os.access(Path.cwd(), os.X_OK)):
        keep_reach(libc)


def keep_reach(libc: ctypes.CDLL) -> None:
    """Keep root's right to pass through closed folders, and nothing else of root's.

    A checkout in root's home is closed to every other account, and opening that folder to everybody would be
    a poor trade for a development server.
    """
    capability = CAP_DAC_READ_SEARCH if has_permitted(libc, CAP_DAC_READ_SEARCH) else CAP_DAC_OVERRIDE
    mask = 1 << capability
    call(libc.capset, header(), (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0))
    call(libc.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def has_permitted(libc: ctypes.CDLL, capability: int) -> bool:
    """Whether the capability is in this process's permitted set."""
    sets = (ctypes.c_uint32 * 6)()
    call(libc.capget, header(), sets)
    return bool(sets[1] & (1 << capability))


def header() -> ctypes.Array[ctypes.c_uint32]:
    """What capget and capset expect first: the version of their layout, and 0 for this process."""
    return (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)


def call(function: "ctypes._NamedFuncPointer", *arguments: object) -> None:
    """Call into the C library; a failure is an OSError with its reason."""
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
