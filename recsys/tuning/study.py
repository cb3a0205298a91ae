"""The study of a search: one store in which trials that run at once learn from each other, and which survives them."""

import fcntl
import os
from pathlib import Path

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from recsys.settings.tuning import TuneSettings


class JournalLock:
    """A lock on a journal that the operating system drops with the process that holds it; Optuna's own outlive a killed one.

    Whoever takes it also removes a last line that a full disk has cut short, which would make the journal unreadable.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._descriptor = os.open(self._journal.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        _drop_torn_line(self._journal)
        return True

    def release(self) -> None:
        """Let the next one write."""
        os.close(self._descriptor)


def _drop_torn_line(journal: Path) -> None:
    with journal.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


class Study:
    """A search in the store, as the process of one trial sees it.

    Parameters
    ----------
    store
        The journal of all searches.
    name
        Of the search.
    tune
        How it draws and prunes.
    number
        The trial, from 0; what it draws depends on the seed, its number, and the trials that it finds in the store.
    """

    def __init__(self, store: Path, name: str, tune: TuneSettings, number: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        store.parent.mkdir(parents=True, exist_ok=True)
        self.number = number
        self._storage = optuna.storages.JournalStorage(JournalFileBackend(str(store), lock_obj=JournalLock(store)))
        self._study = optuna.create_study(
            study_name=name,
            storage=self._storage,
            sampler=_sampler(tune, number),
            pruner=_pruner(tune),
            direction="maximize",
            load_if_exists=True,
        )

    def begin(self) -> optuna.Trial | None:
        """The trial, to be run; one that was killed has the parameters that it had then. None: it has ended."""
        # Trials are laid down in advance, so that each has the number of its job, whichever job comes first.
        while len(self._study.get_trials(deepcopy=False)) <= self.number:
            self._study.enqueue_trial({})
        identity = self._identity()
        if self.record().state.is_finished():
            return None
        self._storage.set_trial_state_values(identity, TrialState.RUNNING)
        return optuna.Trial(self._study, identity)

    def end(self, trial: optuna.Trial, value: float | None) -> None:
        """Note what came out; None: the trial was not worth, or not able, to go on."""
        self._study.tell(trial, value, state=TrialState.COMPLETE if value is not None else TrialState.PRUNED)

    def record(self) -> optuna.trial.FrozenTrial:
        """What the store holds of the trial."""
        return self._storage.get_trial(self._identity())

    def _identity(self) -> int:
        study = self._storage.get_study_id_from_name(self._study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, self.number)


def _sampler(tune: TuneSettings, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([tune.seed, number]).generate_state(1)[0])
    # A constant liar takes trials that still run for bad ones, so that those beside them try something else.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=tune.random_trials, constant_liar=True)


def _pruner(tune: TuneSettings) -> optuna.pruners.BasePruner:
    if tune.pruner == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=tune.warmup_trials, n_warmup_steps=tune.warmup_epochs + 1)  # epochs count from 1
