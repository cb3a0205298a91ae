"""The errors a user can meet: one sentence each, naming the value at fault and the fix."""


class RecsysError(Exception):
    """Base of every error this package raises on purpose; the command line prints its text and exits with `exit_code`."""

    exit_code = 1


class ConfigurationError(RecsysError):
    """A key or value of the configuration is wrong."""

    exit_code = 2


class DataError(RecsysError):
    """An event log, or a table made from it, does not hold what the next stage needs."""

    exit_code = 3


class TrainingError(RecsysError):
    """Training cannot go on: the loss is not finite, or the batch does not fit."""

    exit_code = 4


class PackageError(RecsysError):
    """A model folder or a package is incomplete, altered, or does not answer as the fitted model does."""

    exit_code = 5


class RegistryError(RecsysError):
    """The tracking store or the model registry cannot be used."""

    exit_code = 6


class BusyError(RecsysError):
    """Another living process owns what this one needs."""

    exit_code = 7


class StorageError(RecsysError):
    """A file cannot be written: the disk is full or read-only, or the folder belongs to somebody else."""

    exit_code = 8


class MemoryShortageError(RecsysError):
    """What is asked for needs more memory than there is."""

    exit_code = 9


class DownloadError(RecsysError):
    """A published file cannot be fetched, or what arrived is not what was published."""

    exit_code = 10
