"""The errors a user can cause. Each message names the thing, its value, what is allowed and the remedy, in one line."""


class P59Error(Exception):
    """Base of this project's errors; `exit_status` is what the command line returns."""

    exit_status = 1


class RequestError(P59Error):
    """The request itself is wrong: an unknown key, a missing file, a value out of range."""

    exit_status = 2


class InputError(P59Error):
    """An input file is missing or cannot be read."""

    exit_status = 2


class ModelError(P59Error):
    """A model file cannot be used: unreadable, of another kind, or its contents contradict themselves."""

    exit_status = 2


class FormatError(P59Error):
    """A .p59 file is not valid, or does not match its model."""


class LosslessError(P59Error):
    """Decoded pixels differ from what was encoded."""


class DeviceMemoryError(P59Error):
    """The device has not enough memory."""


class StoppedError(P59Error):
    """Coding was stopped from another thread."""


def reason_of(error: BaseException) -> str:
    """The first line of an exception's text, or its type where it has none: the rest is for programmers."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def without_tracebacks(error: BaseException) -> BaseException:
    """The same exception, for whoever keeps it: frames, and all that they hold, are not kept with it or its causes."""
    part: BaseException | None = error
    while part is not None:
        part.__traceback__ = None
        part = part.__cause__ or part.__context__
    return error
