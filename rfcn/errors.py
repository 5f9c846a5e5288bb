"""The faults a user can cause and mend. Floor 0: imports nothing of ours.

Every command turns an `RFCNError` into one paragraph on stderr, without a traceback, and ends with
its exit code. The message says what is wrong, where (file, line, object) and what to do about it.
"""


class RFCNError(Exception):
    """A fault with a remedy. `exit_code` is what the command ends with."""

    exit_code = 1


class ConfigError(RFCNError):
    """A config file, a key, a value or a command-line argument is wrong (exit code 2)."""

    exit_code = 2


class DataError(RFCNError):
    """A data set, an annotation or a picture is missing or broken (exit code 3)."""

    exit_code = 3


class WeightsError(RFCNError):
    """A checkpoint or a weights file cannot be read or does not fit (exit code 4)."""

    exit_code = 4


class NumericalError(RFCNError):
    """A loss or a gradient stopped being finite (exit code 5)."""

    exit_code = 5


class MachineError(RFCNError):
    """The machine lacks something: a device, a library, disk space, a download (exit code 6)."""

    exit_code = 6
