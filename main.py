"""P59: learned lossless image compression from the command line. A JSON configuration says what to do."""

from __future__ import annotations

import argparse
import signal
import sys

ASKED_TO_STOP = signal.getsignal(signal.SIGINT)
#: Names of this module where it is the program: run itself, or imported by the installed command.
IS_PROGRAM = __name__ in ("__main__", "_p59.main")
if IS_PROGRAM and ASKED_TO_STOP is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an exception amid the imports would be told as their failure

# ruff: noqa: E402
from utils.config import PROGRAM, read_config
from utils.errors import P59Error, RequestError
from utils.keys import key_help
from utils.stopping import Terminated
from utils.tasks.choose import task_of
from utils.tasks.report import all_said, complain, say
from utils.version import VERSION

INTERRUPTED, SIGNALLED = 130, 128


def main(arguments: list[str] | None = None) -> int:
    """Run one configuration; returns the exit status.

    0 done, 1 some file failed or what was printed is lost, 2 wrong request, 130 interrupted, 128 + a signal's number:
    ended by SIGTERM or SIGHUP.
    """
    if IS_PROGRAM:
        signal.signal(signal.SIGINT, ASKED_TO_STOP)
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Encode, decode, compare, measure, freeze or train, as a JSON configuration says.",
        epilog="configuration keys, each also a key=value override:\n" + key_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"P59 {VERSION}")
    parser.add_argument("config", help="JSON file; the shipped ones are found by name, for example encode_wavefront")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a key of the file")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names in any alphabet, on any terminal
    options = parser.parse_args(arguments)
    try:
        config, notes = read_config(options.config, options.overrides)
        task = task_of(config, notes)
        for note in notes:
            say(note)
        return task() or (0 if all_said() else 1)
    except P59Error as error:
        complain(f"error: {error}")
        return error.exit_status
    except OSError as error:
        complain(f"error: {error}; check the paths of the request")
        return RequestError.exit_status
    except ModuleNotFoundError as error:
        complain(f"error: this needs the Python module {error.name}, which is not installed; see docs/python.md")
        return RequestError.exit_status
    except MemoryError:
        complain("error: out of memory; use fewer threads, smaller images, or a machine with more")
        return RequestError.exit_status
    except KeyboardInterrupt as interrupt:
        complain("interrupted; files that are there are complete")
        return SIGNALLED + interrupt.number if isinstance(interrupt, Terminated) else INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
