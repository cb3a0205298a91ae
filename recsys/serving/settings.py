"""What the stages from export to serving are told: one JSON object, of which each stage reads its part."""

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import ConfigurationError
from recsys.settings.base import Name
from recsys.settings.serving import PromotionSettings, ServeSettings, TrackingSettings
from recsys.settings.training import EvaluationSettings


class StageSettings(BaseModel):
    """The sections of the configuration that serving stages read, and the hashes that say what a package was made from.

    Other keys are passed over, so that one object can be handed to every stage.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    shop: Name = "demo"
    tracking: TrackingSettings = TrackingSettings()
    promotion: PromotionSettings = PromotionSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    serve: ServeSettings = ServeSettings()
    split_hash: str | None = None
    split_settings_hash: str | None = None
    configuration_hash: str | None = None

    @property
    def data_hashes(self) -> dict[str, str]:
        """The hashes that were given of what a package was made from, by name; a change of the port, say, makes no other package."""
        return {name: value for name, value in self.hashes.items() if name != "configuration_hash"}

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes that were given, by name."""
        names = ("split_hash", "split_settings_hash", "configuration_hash")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def read_settings(text: str) -> StageSettings:
    """The settings in a JSON text.

    Raises
    ------
    ConfigurationError
        If the text is no JSON object, or a value in it cannot be used.
    """
    try:
        return StageSettings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the JSON text"
        raise ConfigurationError(f"--settings: {key} cannot be used ({first['msg']}); correct it") from None
