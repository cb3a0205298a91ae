"""The configuration: typed, validated with the key, the value and the fix, and the single source of the schema and the run grid.

Stages do not import this module; each receives its own section (`recsys.settings`), so that a changed section reruns only its stages.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

from recsys.configuration_errors import sentence
from recsys.errors import ConfigurationError
from recsys.events.sources.registry import Source
from recsys.settings.base import Name, Section
from recsys.settings.baselines import ItemToItemParameters, PopularityParameters
from recsys.settings.blend import BlendParameters, Member, RerankerParameters
from recsys.settings.checks import Checks
from recsys.settings.gru4rec import GRU4RecParameters
from recsys.settings.raw_files import SourceFile
from recsys.settings.serving import PromotionSettings, ServeSettings, TrackingSettings
from recsys.settings.session_knn import SessionKNNParameters
from recsys.settings.sessions import FilterSettings, SessionSettings, SplitSettings
from recsys.settings.source import DemoSource
from recsys.settings.training import EvaluationSettings, TrainingSettings
from recsys.settings.tuning import TuneSettings
from recsys.tuning.declared import declared
from recsys.tuning.found import read_found

PARAMETERS: dict[str, type[Section]] = {
    "gru4rec": GRU4RecParameters,
    "popularity": PopularityParameters,
    "item_to_item": ItemToItemParameters,
    "session_knn": SessionKNNParameters,
    "blend": BlendParameters,
    "reranker": RerankerParameters,
}
COMBINED_FAMILIES = frozenset({"blend", "reranker"})
"""Models over models: their runs name other runs as members."""
SEEDED_FAMILIES = frozenset({"gru4rec"}) | COMBINED_FAMILIES
BASELINE_FAMILIES = frozenset({"popularity", "item_to_item"})


class FamilyParameters(Section):
    """Parameters that every run of a family starts from."""

    gru4rec: GRU4RecParameters = GRU4RecParameters()
    """GRU4Rec."""
    popularity: PopularityParameters = PopularityParameters()
    """The most clicked items."""
    item_to_item: ItemToItemParameters = ItemToItemParameters()
    """Items clicked after the session's last ones."""
    session_knn: SessionKNNParameters = SessionKNNParameters()
    """The sessions most like the current one."""
    blend: BlendParameters = BlendParameters()
    """Several runs as one."""
    reranker: RerankerParameters = RerankerParameters()
    """A blend whose order is corrected by boosted trees."""

    @model_validator(mode="before")
    @classmethod
    def _members_stand_with_runs(cls, written: Any) -> Any:
        for family in sorted(COMBINED_FAMILIES):
            if isinstance(written, dict) and isinstance(written.get(family), dict) and "combines" in written[family]:
                raise ValueError(f"{family}.combines is filled in by the workflow; name the members of a run under runs.NAME.members")
        return written


class RunSettings(Section):
    """A named run: a family, what it changes of the family's parameters, and its seeds."""

    model: str
    """The family: gru4rec, popularity, item_to_item, session_knn, or blend and reranker, which combine other runs."""
    members: list[Name] = []
    """Of a blend or reranker: the runs that it combines, two at least."""
    parameters: dict[str, Any] = {}
    """Parameters that differ from the family's under `models`, and from those that `tuned` names."""
    tuned: str | None = None
    """A file with the parameters that a search found, such as `results/tune/best.yaml`, which `snakemake tune` writes."""
    seeds: list[int] = Field(default=[1], min_length=1)
    """One run a seed; not used by families that only count. A blend's members are those of the same seed."""

    @field_validator("model")
    @classmethod
    def _known_family(cls, family: str) -> str:
        if family not in PARAMETERS:
            raise ValueError(f"there is no model family {family!r}; the families are {', '.join(PARAMETERS)}")
        return family

    @field_validator("seeds")
    @classmethod
    def _different_seeds(cls, seeds: list[int], info: ValidationInfo) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"a seed stands twice in {seeds}; each seed is one run")
        if any(seed < 0 for seed in seeds):
            raise ValueError(f"seeds cannot be negative: {seeds}")
        return seeds


@dataclass(frozen=True)
class Run:
    """One job of the grid: a named run with one seed.

    Attributes
    ----------
    tuned
        The file with the parameters of a search, its own or a member's, where it is not there yet.
    members
        The runs that it combines.
    """

    id: str
    name: str
    model: str
    seed: int
    parameters: Section
    tuned: str | None = None
    members: "tuple[Run, ...]" = ()

    @property
    def as_member(self) -> Member:
        """What a run that combines it is told of it."""
        return Member(name=self.name, run=self.id, model=self.model, seed=self.seed, parameters=self.parameters.model_dump(mode="json"))

    @property
    def settings(self) -> dict[str, Any]:
        """What the training stage is given.

        Raises
        ------
        ConfigurationError
            If the parameters that a search should have found are not there yet.
        """
        if self.tuned is not None:
            name = next((member.name for member in self.members if member.tuned), self.name)
            raise ConfigurationError(
                f"runs.{name}.tuned: there is no file {self.tuned} (looked for it from {Path.cwd()}); run `snakemake tune` first, "
                "or correct the path"
            )
        return {
            "run": self.id,
            "name": self.name,
            "model": self.model,
            "seed": self.seed,
            "parameters": self.parameters.model_dump(mode="json"),
        }


class Configuration(Section):
    """Everything a user chooses."""

    shop: Name = "demo"
    """The shop's name; it stands in the registered model's name."""
    source: Source = DemoSource()
    """Where the events come from."""
    checks: Checks = Checks()
    """Quality checks at ingestion."""
    sessions: SessionSettings = SessionSettings()
    """From events to sessions."""
    split: SplitSettings = SplitSettings()
    """The cuts in time."""
    filter: FilterSettings = FilterSettings()
    """What training keeps."""
    models: FamilyParameters = FamilyParameters()
    """Parameters by family."""
    runs: dict[Name, RunSettings] = Field(min_length=1)
    """The grid: named runs, trained in parallel and compared on validation."""
    training: TrainingSettings = TrainingSettings()
    """How runs are trained."""
    tune: TuneSettings = TuneSettings()
    """The search for better parameters."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How runs are compared and chosen."""
    tracking: TrackingSettings = TrackingSettings()
    """The MLflow store."""
    promotion: PromotionSettings = PromotionSettings()
    """When a new version becomes the champion."""
    serve: ServeSettings = ServeSettings()
    """The served app."""

    @model_validator(mode="after")
    def _runs_are_sound(self) -> "Configuration":
        for name, run in self.runs.items():
            self._parameters(name, run)
        if not any(run.model in BASELINE_FAMILIES for run in self.runs.values()):
            raise ValueError(
                "runs holds no baseline, so that nothing tells whether learning pays; add one, such as `popularity: {model: popularity}`"
            )
        return self

    @model_validator(mode="after")
    def _members_are_sound(self) -> "Configuration":
        for name, run in self.runs.items():
            if run.model not in COMBINED_FAMILIES:
                if run.members:
                    raise ValueError(
                        f"runs.{name}.members: a {run.model} has no members; only a {' or a '.join(sorted(COMBINED_FAMILIES))} has"
                    )
                continue
            if run.tuned is not None:
                raise ValueError(f"runs.{name}.tuned: no search finds a {run.model}'s parameters; write it at the member that was searched")
            if len(run.members) < 2 or len(set(run.members)) < len(run.members):
                raise ValueError(f"runs.{name}.members: a {run.model} combines two runs or more, each once, not {run.members}")
            for member in run.members:
                self._check_member(name, run, member)
        return self

    def _check_member(self, name: str, run: RunSettings, member: str) -> None:
        where = f"runs.{name}.members"
        if member not in self.runs:
            raise ValueError(f"{where}: there is no run {member!r}; the runs are {', '.join(self.runs)}")
        its = self.runs[member]
        if its.model in COMBINED_FAMILIES:
            raise ValueError(f"{where}: {member} is itself a {its.model}; name its members instead")
        missing = sorted(set(run.seeds) - set(its.seeds)) if its.model in SEEDED_FAMILIES else []
        if missing:
            raise ValueError(
                f"{where}: {member} has no run with seed {missing[0]}; add it to runs.{member}.seeds, or leave it out of runs.{name}.seeds"
            )

    @model_validator(mode="after")
    def _search_is_sound(self) -> "Configuration":
        _ = self.search
        return self

    def _parameters(self, name: str, run: RunSettings) -> Section:
        if run.model in COMBINED_FAMILIES and "combines" in run.parameters:
            raise ValueError(f"runs.{name}.parameters.combines: write the members' names one level up, under runs.{name}.members")
        base: BaseModel = getattr(self.models, run.model)
        chosen = base.model_dump(mode="json", exclude_unset=True) | self._tuned(name, run) | run.parameters
        try:
            return PARAMETERS[run.model].model_validate(chosen)
        except ValidationError as error:
            raise ValueError(sentence(error, f"runs.{name}.parameters", PARAMETERS[run.model])) from None

    def _tuned(self, name: str, run: RunSettings) -> dict[str, Any]:
        """What a search found for the run; nothing where it is not there yet, since the search itself reads this configuration."""
        if run.tuned is None or not Path(run.tuned).exists():
            return {}
        found = read_found(Path(run.tuned))
        if found.model != run.model:
            raise ValueError(f"runs.{name}.tuned: {run.tuned} holds parameters of {found.model}, but the run is of {run.model}")
        return found.parameters

    @cached_property
    def search(self) -> TuneSettings:
        """The search, with its whole space and every fixed parameter."""
        family = self.tune.model
        searched = [one for one in PARAMETERS if one not in COMBINED_FAMILIES]
        if family not in searched:
            raise ValueError(f"tune.model: there is no model family {family!r} to search; the families are {', '.join(searched)}")
        return declared(self.tune, PARAMETERS[family], getattr(self.models, family))

    @cached_property
    def grid(self) -> dict[str, Run]:
        """Every run by its id: the run's name, with the seed where the family has one."""
        grid: dict[str, Run] = {}
        # Members before those that combine them.
        for name, run in sorted(self.runs.items(), key=lambda named: named[1].model in COMBINED_FAMILIES):
            seeds = run.seeds if run.model in SEEDED_FAMILIES else [0]
            for seed in seeds:
                identity = self._identity(name, seed)
                awaited = run.tuned if run.tuned is not None and not Path(run.tuned).exists() else None
                members = tuple(grid[self._identity(member, seed)] for member in run.members)
                parameters = self._parameters(name, run)
                if members:
                    parameters = parameters.model_copy(update={"combines": [member.as_member for member in members]})
                    awaited = next((member.tuned for member in members if member.tuned), None)
                grid[identity] = Run(identity, name, run.model, seed, parameters, awaited, members)
        return grid

    def _identity(self, name: str, seed: int) -> str:
        return f"{name}.seed{seed}" if self.runs[name].model in SEEDED_FAMILIES else name

    @cached_property
    def baselines(self) -> list[str]:
        """Names of the runs that only count; they are refitted and tested beside the champion."""
        return [name for name, run in self.runs.items() if run.model in BASELINE_FAMILIES]

    @cached_property
    def raw_files(self) -> tuple[SourceFile, ...]:
        """The source's raw files: those of events, and those that describe the items.

        Raises
        ------
        ConfigurationError
            If a file that should be there is not.
        """
        return tuple(self.source.raw_files())

    @cached_property
    def parts(self) -> dict[str, SourceFile]:
        """The log's parts by name: the raw files of events."""
        return {file.name: file for file in self.raw_files if file.role == "events"}


def load_configuration(raw: dict[str, Any]) -> Configuration:
    """The typed configuration of a plain mapping.

    Raises
    ------
    ConfigurationError
        Naming the key, the value and the fix.
    """
    try:
        return Configuration.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(sentence(error, "", Configuration)) from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the configuration."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Configuration.model_json_schema()


__all__ = ["Configuration", "Run", "RunSettings", "json_schema", "load_configuration"]
