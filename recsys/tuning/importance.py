"""Which parameters of a search decided how good a trial was."""

from collections.abc import Sequence

import optuna

from recsys.settings.tuning import Dimension
from recsys.tuning.outcome import Outcome
from recsys.tuning.space import draw, encoded

LEAST = 6
"""Trials with a value below which nothing can be said."""


def importances(outcomes: Sequence[Outcome], space: dict[str, Dimension]) -> dict[str, float]:
    """Each parameter's share of the variance of the trials' values (fANOVA); empty where that cannot be said.

    A pruned trial counts with the value that it had reached, since those that are complete, the better ones, tell too little by themselves;
    one that diverged counts as the worst of the others.

    Source: Hutter, Hoos & Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014.

    Parameters
    ----------
    outcomes
        Of the search's trials.
    space
        What was searched.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    values = [outcome.value for outcome in outcomes if outcome.value is not None]
    if len(values) < LEAST or min(values) == max(values):
        return {}
    study = optuna.create_study(direction="maximize")
    for outcome in outcomes:
        study.enqueue_trial({name: encoded(value, space[name]) for name, value in outcome.drawn.items()})
        trial = study.ask()
        draw(trial, space)
        study.tell(trial, outcome.value if outcome.value is not None else min(values))
    return optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))
