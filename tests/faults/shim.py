"""shim.py: what a preloaded shim.so is told: which operation on a disk fails, and how."""
import contextlib
import errno
import json
import mmap
import os
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "flow"))
from harness import BUILD, IS_SANITIZED, environment  # noqa: E402 pylint: disable=wrong-import-position

SHIM = os.path.join(BUILD, "faults", "shim.so")
DRIVER = os.path.join(BUILD, "faults", "driver")
KINDS = ("create", "write", "sync", "allocate", "truncate", "rename", "unlink", "mkdir")
ALL = (1 << len(KINDS)) - 1
KILL, TORN, SHORT = 1000, 1001, 1002
FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EROFS": errno.EROFS, "killed": KILL,
          "killed in the write": TORN, "short write": SHORT}
FOR_EVER = (1 << 64) - 1
FORMAT = "<QQQQqqIIQ"  # struct control in shim.c
FIELDS = ("ops", "first", "until", "fired", "space", "clock_ns", "kinds", "fault", "traced")


def is_long():
    """`make faults`: all of it, for minutes. Else the part that is in `make test`."""
    return bool(os.environ.get("WEIR_FAULTS_LONG"))


def whole_lines(path):
    """The events of a file sink. A line that was cut in two is ended by the next run, and its event comes
    again; the file may be gone with the folder's unsynced names."""
    found = []
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                with contextlib.suppress(ValueError):
                    value = json.loads(line)
                    found += [value] if isinstance(value, dict) else []
    except FileNotFoundError:
        pass
    return found


class Shim:
    """What the shim of one process, or of several in turn, does to the files under `folder`. Each of FIELDS
    can be read and set at any time."""

    def __init__(self, folder, trace=None, notes=None):
        self.folder, self.trace, self.notes = folder, trace, notes
        fd, self.path = tempfile.mkstemp(prefix="weir-shim.")
        os.truncate(fd, 4096)
        self.map = mmap.mmap(fd, 4096)
        os.close(fd)
        self.heal()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.map.close()
        os.unlink(self.path)

    def heal(self):
        """No fault from here on."""
        self.set(first=0, until=0, space=-1, kinds=ALL, fault=0, clock_ns=0)

    def set(self, **values):
        for name, value in values.items():
            code, at = self._place(name)
            struct.pack_into("<" + code, self.map, at, value)

    def get(self, name):
        code, at = self._place(name)
        return struct.unpack_from("<" + code, self.map, at)[0]

    def fail(self, fault, first=1, until=None, kinds=KINDS):
        """Operations of these kinds are counted anew; those from `first` to `until` (itself) fail."""
        self.set(first=0)
        self.set(ops=0, fired=0, until=first if until is None else until, fault=FAULTS[fault],
                 kinds=sum(1 << KINDS.index(k) for k in kinds))
        self.set(first=first)

    def environment(self, has_sync=False, **more):
        """`has_sync`: syncs are done; a process that dies and not the machine needs none."""
        env = {"LD_PRELOAD": SHIM, "WEIR_FAULT_DIR": self.folder, "WEIR_FAULT_CONTROL": self.path,
               "WEIR_FAULT_TRACE": self.trace, "WEIR_FAULT_NOTES": self.notes,
               "WEIR_FAULT_NO_SYNC": None if has_sync else "1"}
        if IS_SANITIZED:
            env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return environment(**env, **more)

    @staticmethod
    def _place(name):
        i = FIELDS.index(name)
        return FORMAT[1 + i], struct.calcsize(FORMAT[:1 + i])
