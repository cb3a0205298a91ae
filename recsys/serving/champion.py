"""Where a newer champion comes from: the registry, asked now and then; what cannot be served is refused while the old one serves on."""

import logging
from dataclasses import dataclass, field

from recsys.errors import RecsysError
from recsys.serving.engine import ServedModel
from recsys.serving.metrics import Metrics
from recsys.settings.serving import ServeSettings

_logger = logging.getLogger("recsys.serving")


@dataclass
class Champion:
    """A shop's champion in a registry.

    Attributes
    ----------
    tracking_uri, shop
        Where, and whose.
    version
        The version that was served or refused last.
    """

    tracking_uri: str | None
    shop: str
    version: str
    _silent: bool = field(default=False, repr=False)

    def look(self, settings: ServeSettings, metrics: Metrics) -> ServedModel | None:
        """The champion, loaded and warm, if it is another version than the last; None if not, or if it cannot be served."""
        from recsys.tracking import champion_version, fetch_version

        try:
            version = champion_version(self.tracking_uri, self.shop)
        except RecsysError as error:
            if not self._silent:  # once until it answers again
                _logger.warning("the registry cannot be asked for a new champion: %s", error)
            self._silent = True
            metrics.registry_failing.set(1)
            return None
        self._silent = False
        metrics.registry_failing.set(0)
        if version is None or version == self.version:
            return None
        self.version = version
        try:
            folder = fetch_version(self.tracking_uri, self.shop, version)
            found = ServedModel.load(folder, version, settings)
        except Exception as error:
            known = isinstance(error, RecsysError)
            _logger.error("version %s is not served: %s; the one before serves on", version, error if known else "", exc_info=not known)
            metrics.reloaded("refused")
            return None
        metrics.reloaded("loaded")
        return found
