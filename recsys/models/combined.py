"""Models over models: the members list items, and what they say of them is combined into one order.

What is combined is learned on validation, from members that have not seen it, and judged there too. So that no prediction is judged by
what was learned from its own session or from sessions that start later, validation is gone through as time went through it (rolling
origin, Tashman, 2000): what is learned from its first eighth orders the second, what is learned from its first quarter the second quarter,
and what from its first half the second half. Before there is anything to learn from, all members weigh alike. The last stage, learned from
all of it, is what is served.

What is combined are the `candidates` best items of each member; where these end, a model over models ends. Only where some items may not be
recommended (`Combined.recommend_further`) do others follow: what the members list behind, in the order of their lists.

Shapes: Q queries, M members, U candidates of all queries together, P predictions.
"""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from recsys.errors import ConfigurationError, DataError
from recsys.models.candidates import Candidates, Lists, gone_on, only
from recsys.models.interface import Capabilities, FitContext, FitData, Model, Queries, read_manifest
from recsys.models.registry import load_model, model_class
from recsys.models.scores import EXCLUDED, not_a_number, prefixes, refuse_length
from recsys.sessions.table import Positions, Sessions
from recsys.settings.blend import BlendParameters, Member

MEMBERS = "members"
"""Folder of the members' own folders, below the model's."""

_STAGES = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the validation's predictions after which a new stage begins."""
_ALWAYS = np.array([np.iinfo(np.int64).min])
_AT_ONCE = 4_096
"""Predictions that are combined at a time."""


class Lister(Protocol):
    """What a member is asked for when it is served."""

    def recommend(self, queries: Queries, k: int, *, exclude: Sessions | None = None) -> Lists:
        """As `Model.recommend` has it, of all items."""


class Combined(Model):
    """A model over models.

    Attributes
    ----------
    members_ : dict of models
        The members by name.
    since_ : int64 [stages]
        When each stage begins: a session that starts then or later is ordered by it, unless a later one has begun. One whose start is
        not told is ordered by the last.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(runtime="combined", exact_full_rank=False, seeded=True)
    parameters_class: ClassVar[type[BlendParameters]]

    members_: dict[str, Lister]
    since_: np.ndarray

    @abstractmethod
    def begin(self) -> None:
        """Forget every stage."""

    @abstractmethod
    def learn(self, queries: Queries, candidates: Candidates, chosen: np.ndarray) -> None:
        """Learn one more stage from queries and which candidate was clicked next, by its row, int64 [Q].

        Of no query at all, the stage weighs all members alike.
        """

    @abstractmethod
    def combine(self, stage: int, queries: Queries, candidates: Candidates) -> np.ndarray:
        """Scores float32 [U] of the candidates by a stage; -inf: not to be recommended."""

    @abstractmethod
    def take_over(self, learned: Self) -> None:
        """Take over the last stage of another model of this family, as the only one."""

    def describe(self, data: FitData) -> None:
        """Learn from the training data what is to be known of items beside the members; nothing, as it is."""

    def fit(self, data: FitData, context: FitContext | None = None) -> Self:
        """Fit the members, or take those that were fitted, and learn to combine them on `data.valid`.

        Without validation, what `context.learned` learned is taken over.

        Raises
        ------
        ConfigurationError
            If there is nothing to combine.
        DataError
            If there is nothing to learn from, or what was learned is of other members or by other parameters.
        """
        if not self.parameters.combines:
            raise ConfigurationError(f"a {self.family} combines other models, but was given none; name them under runs.NAME.members")
        context = context if context is not None else FitContext()
        self.n_items_ = data.n_items
        self.members_ = {member.name: _fitted(member, data, context) for member in self.parameters.combines}
        self.describe(data)
        if data.valid is not None:
            self._learn_as_time_went(data.valid)
        elif context.learned is not None:
            self.since_ = _ALWAYS
            self.take_over(self._same_kind(context.learned))
        else:
            raise DataError(
                f"a {self.family} learns on validation how to combine its members, but was given neither validation sessions nor the "
                "model that learned on them; pass --valid or --learned"
            )
        return self

    def _same_kind(self, folder: Path) -> Self:
        """The model in a folder, without its members, once it is found to combine what this one does in the way that this one does.

        Only the members' own parameters may differ: a member is refitted for the epochs that were best.
        """
        learned = type(self).load(folder, with_members=False)
        theirs, ours = _way_of(learned.parameters), _way_of(self.parameters)
        for name, value in ours.items():
            if theirs[name] != value:
                raise DataError(f"{folder} learned with the {name} {theirs[name]}, but this {self.family} has {value}; learn again")
        return learned

    def _learn_as_time_went(self, valid: Sessions) -> None:
        positions = valid.targets()
        if not len(positions):
            raise DataError(f"there is no validation session with two clicks for the {self.family} to learn from; lengthen split.valid")
        if valid.starts is None:
            raise DataError(f"the {self.family} needs to know when validation sessions start; read them with their column `start`")
        self.learn_stages(valid, stage_starts(valid.starts[positions.session]))

    def learn_stages(self, valid: Sessions, since: np.ndarray) -> None:
        """Learn the stages that begin at the times `since`, int64 [stages]: each from the sessions that start before."""
        positions = valid.targets()
        starts = valid.starts[positions.session]
        self.since_ = since
        candidates = Candidates.concatenate([self._union(own, these) for _, own, these in positions.at_once(valid, _AT_ONCE)])
        queries, chosen = prefixes(valid, positions, slice(None)), candidates.places_of(positions.target, self.n_items_)
        self.begin()
        for begin in since:
            # A target that no member lists tells nothing of how to weigh them.
            used = (starts < begin) & (chosen >= 0)
            own = candidates.of(used)
            self.learn(queries.of(used), own, own.places_of(positions.target[used], self.n_items_))

    @property
    def _length(self) -> int:
        return min(self.parameters.candidates, self.n_items_)

    def _union(self, sessions: Sessions, positions: Positions, exclude_clicked: bool = False) -> Candidates:
        lists = [member.top_positions(sessions, positions, self._length, exclude_clicked) for member in self.members_.values()]
        return Candidates.union(lists, self.n_items_)

    def _scores(self, queries: Queries, candidates: Candidates) -> np.ndarray:
        """float32 [U], each query's by the stage that its start falls into."""
        last = len(self.since_) - 1
        stages = np.full(len(queries), last) if queries.starts is None else np.searchsorted(self.since_, queries.starts, side="right") - 1
        present = np.unique(stages)
        if len(present) == 1:
            scores = self.combine(int(present[0]), queries, candidates)
        else:
            scores = np.empty(len(candidates.items), np.float32)
            for stage in present:
                own = stages == stage
                scores[np.repeat(own, np.diff(candidates.offsets))] = self.combine(int(stage), queries.of(own), candidates.of(own))
        if np.isnan(scores).any():
            raise not_a_number()
        return scores

    def _ask(self, queries: Queries, length: int, exclude: Sessions | None = None) -> list[Lists]:
        return [member.recommend(queries, length, exclude=exclude) for member in self.members_.values()]

    def _combined(self, queries: Queries, lists: list[Lists]) -> tuple[Candidates, np.ndarray]:
        """The union of the members' lists, as long as they are combined, and its scores float32 [U]."""
        length = self._length
        union = Candidates.union([(items[:, :length], scores[:, :length]) for items, scores in lists], self.n_items_)
        return union, self._scores(queries, union)

    def recommend(
        self, queries: Queries, k: int, candidates: np.ndarray | None = None, exclude: Sessions | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the interface has it; fewer than k items where fewer are combined. Items to choose from are chosen of `recommend_further`."""
        refuse_length(k, self.n_items_)
        if candidates is not None:
            return only(self.recommend_further(queries, self.n_items_, exclude), candidates, self.n_items_, k)
        union, scores = self._combined(queries, self._ask(queries, self._length, exclude))
        return union.best(scores, k)

    def recommend_further(self, queries: Queries, k: int, exclude: Sessions | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As `recommend`, and where what is combined ends before k, the other items that the members list among their k best.

        What is combined keeps its order and its scores. The others follow by the best place that a member gives them, the first member
        first among equals, each with a score just below the one before: a longer list begins as a shorter one does, and the list of all
        items ends with the last that a member lists. No evaluation ranks them.
        """
        refuse_length(k, self.n_items_)
        lists = self._ask(queries, max(k, self._length), exclude)
        union, scores = self._combined(queries, lists)
        return gone_on(union.best(scores, k), lists, self.n_items_)

    def score_all(self, queries: Queries) -> np.ndarray:
        """Scores float32 [Q, items]; -inf where no member lists an item."""
        union, found = self._combined(queries, self._ask(queries, self._length))
        scores = np.full((len(queries), self.n_items_), -np.inf, np.float32)
        scores[union.queries, union.items] = found
        return scores

    def top_positions(
        self, sessions: Sessions, positions: Positions, length: int, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the interface has it."""
        items = np.empty((len(positions), length), np.int32)
        found = np.empty((len(positions), length), np.float32)
        for part, own, these in positions.at_once(sessions, _AT_ONCE):
            union = self._union(own, these, exclude_clicked)
            items[part], found[part] = union.best(self._scores(prefixes(own, these, slice(None)), union), length)
        return items, found

    def rank_positions(
        self, sessions: Sessions, positions: Positions, length: int = 0, exclude_clicked: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the interface has it; a target that no member lists is missed."""
        ranks = np.full(len(positions), EXCLUDED, np.int64)
        lists = np.empty((len(positions), length), np.int32)
        for part, own, these in positions.at_once(sessions, _AT_ONCE):
            union = self._union(own, these, exclude_clicked)
            scores = self._scores(prefixes(own, these, slice(None)), union)
            place = union.places_of(these.target, self.n_items_)
            reached = np.full(len(these), -np.inf, np.float32)
            reached[place >= 0] = scores[place[place >= 0]]
            there = ~np.isneginf(reached)
            reached = np.where(there, reached, np.inf)[union.queries]  # [U]
            at_least = np.bincount(union.queries[scores >= reached], minlength=len(these))
            ranks[part][there] = at_least[there]
            if length:
                lists[part] = union.best(scores, length)[0]
        return ranks, lists

    def arrays(self) -> dict[str, np.ndarray]:
        """`since`, and what the family adds."""
        return {"since": self.since_}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `arrays` gave."""
        self.since_ = arrays["since"]

    def write_learned(self, folder: Path) -> None:
        """The arrays, and the members, a folder each."""
        super().write_learned(folder)
        for name, member in self.members_.items():
            (folder / MEMBERS / name).mkdir(parents=True)
            member.save(folder / MEMBERS / name)

    @classmethod
    def load(cls, folder: Path, with_members: bool = True) -> Self:
        """Read what `save` wrote; without the members, for those who bring their own."""
        model = super().load(folder)
        names = [member.name for member in model.parameters.combines] if with_members else []
        model.members_ = {name: load_model(folder / MEMBERS / name) for name in names}
        return model


def stage_starts(starts: np.ndarray) -> np.ndarray:
    """When each stage begins, by when each prediction's session starts, int64 [P]: int64 [stages], the last after all of them."""
    ordered = np.sort(starts)
    bounds = ordered[[int(share * len(starts)) for share in _STAGES]]
    return np.concatenate([_ALWAYS, np.unique(np.append(bounds, ordered[-1] + 1))])


def _way_of(parameters: BlendParameters) -> dict[str, Any]:
    """What has to be the same for what was learned to fit."""
    members = [(member.name, member.model) for member in parameters.combines]
    return {"members": members} | parameters.model_dump(exclude={"combines"})


def _fitted(member: Member, data: FitData, context: FitContext) -> Model:
    """The member as it was fitted, where it was; else fitted here, without validation."""
    kind = model_class(member.model)
    if member.name in context.members:
        folder = context.members[member.name]
        described = read_manifest(folder)
        if (described["family"], described["seed"]) != (member.model, member.seed):
            raise DataError(f"{folder} holds a {described['family']} with seed {described['seed']}, not the member {member.run}")
        if kind.parameters_class.model_validate(described["parameters"]) != kind.parameters_class.model_validate(member.parameters):
            raise DataError(f"{folder} holds a {member.model} of other parameters than the member {member.run}; fit it again")
        return load_model(folder)
    model = kind(kind.parameters_class.model_validate(member.parameters), seed=member.seed)
    folder = context.resume_folder / member.name if context.resume_folder is not None else None
    own = replace(context, validate=None, resume_folder=folder, history=[], members={}, learned=None)
    model.fit(replace(data, valid=None), own)
    # A row an epoch: one member after the other.
    done = len(context.history)
    context.history.extend(replace(epoch, epoch=done + epoch.epoch) for epoch in own.history)
    return model
