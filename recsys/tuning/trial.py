"""One trial of a search: drawn, fitted under the eyes of the pruner, and what came out of it."""

from collections.abc import Callable
from pathlib import Path

import optuna

from recsys.errors import TrainingError
from recsys.files import file_digest, value_digest
from recsys.models.interface import Model
from recsys.models.registry import model_class
from recsys.processes import exclusive
from recsys.settings.training import TrainingSettings
from recsys.settings.tuning import TuneSettings
from recsys.training.checkpoint import Checkpoint
from recsys.training.progress import shown
from recsys.training.run import PreparedFit, prepare
from recsys.tuning.outcome import Outcome
from recsys.tuning.space import as_parameter, draw
from recsys.tuning.study import Study


def run_trial(
    number: int,
    tune: TuneSettings,
    training: TrainingSettings,
    data_paths: dict[str, Path],
    store: Path,
    work: Path,
    code: str,
    device: str,
    exclude_session_items: bool = False,
) -> Outcome:
    """Run a trial, or what is left of it, and note in the store what came out; a trial that has ended is only read.

    Parameters
    ----------
    number
        The trial, from 0.
    tune
        The search, with its space and every fixed parameter.
    training
        Early stopping and resume points.
    data_paths
        `items`, `train` and `valid` of a fit window.
    store
        The journal of all searches.
    work
        Folder of the resume points and locks.
    code
        Digest of the code.
    device
        cpu, cuda or auto.
    exclude_session_items
        Whether validation leaves the session's items out, as serving does.

    Raises
    ------
    BusyError
        If another process runs the same trial.
    """
    kind = model_class(tune.model).parameters_class
    training = training.model_copy(update={"metric": tune.metric})
    data = {name: file_digest(path) for name, path in sorted(data_paths.items())}
    name = _study_name(tune, training, data, code, exclude_session_items)
    study = Study(store, name, tune, number)
    with exclusive(work / f"{name}.{number}.lock", f"trial {number} of the search {name}"):
        trial = study.begin()
        drawn = draw(trial if trial is not None else optuna.trial.FixedTrial(study.record().params), tune.space)
        parameters = tune.parameters | {key: as_parameter(value, kind, key) for key, value in drawn.items()}
        if trial is not None:
            run = {"run": f"trial {number}", "model": tune.model, "seed": tune.seed, "parameters": parameters}
            fit = prepare(run, data_paths, training, work, code, device, exclude_session_items)
            _run(fit, study, trial, training)
        ended = study.record()
        validation = [value for _, value in sorted(ended.intermediate_values.items())]
        diverged = ended.user_attrs.get("diverged")
        value, epoch = _kept(validation, training.keep) if validation else (ended.value, None)
    return Outcome(
        study=name,
        trial=number,
        state="diverged" if diverged else "complete" if ended.state == optuna.trial.TrialState.COMPLETE else "pruned",
        metric=tune.metric,
        value=None if diverged else value,
        epoch=None if diverged else epoch,
        validation=validation,
        drawn=drawn,
        model=tune.model,
        seed=tune.seed,
        parameters=parameters,
        data=data,
        reason=diverged,
    )


def _study_name(tune: TuneSettings, training: TrainingSettings, data: dict[str, str], code: str, exclude_session_items: bool) -> str:
    """Everything that decides what a trial is worth is in the name, the number of trials is not."""
    decides = {
        "tune": tune.model_dump(mode="json", exclude={"trials"}),
        "training": training.model_dump(mode="json", exclude={"checkpoint_every"}),
        "data": data,
        "code": code,
        "exclude_session_items": exclude_session_items,
    }
    return f"{tune.model}-{value_digest(decides)[:12]}"


def _run(fit: PreparedFit, study: Study, trial: optuna.Trial, training: TrainingSettings) -> None:
    context = fit.context
    validate = context.validate
    context.validate = _watched(fit, study, trial)
    value = None
    try:
        with shown(context, fit.described["run"]):
            fit.model.fit(fit.data, context)
        # Families that only count have no epochs, so that nothing was validated yet.
        validation = [row.metrics[training.metric] for row in context.history]
        value = _kept(validation, training.keep)[0] if validation else validate(fit.model)[training.metric]
    except optuna.TrialPruned:
        pass
    except TrainingError as error:
        trial.set_user_attr("diverged", str(error))
    study.end(trial, value)
    Checkpoint(context.resume_folder).clear()


def _watched(fit: PreparedFit, study: Study, trial: optuna.Trial) -> Callable[[Model], dict[str, float]]:
    """The fit's validation, reported to the trial, which may end it."""
    validate, context = fit.context.validate, fit.context
    before = study.record().intermediate_values
    last = getattr(fit.model.parameters, "epochs", None)

    def watched(model: Model) -> dict[str, float]:
        metrics = validate(model)
        epoch = len(context.history) + 1
        if epoch not in before:
            trial.report(metrics[context.metric], epoch)
        # After the last epoch there is nothing left to save.
        if max(before, default=0) <= epoch != last and trial.should_prune():
            raise optuna.TrialPruned
        return metrics

    return watched


def _kept(validation: list[float], keep: str) -> tuple[float, int]:
    """Value and number, from 1, of the epoch that a run would keep."""
    epoch = len(validation) if keep == "last" else max(range(1, len(validation) + 1), key=lambda epoch: (validation[epoch - 1], -epoch))
    return validation[epoch - 1], epoch
