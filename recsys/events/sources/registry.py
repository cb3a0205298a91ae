"""The sources by name: the demo shop, a shop's own files, and the public logs."""

from typing import Annotated, get_args

from pydantic import Field

from recsys.events.sources.amazon_reviews import AmazonReviewsSource
from recsys.events.sources.movielens import MovieLensSource
from recsys.events.sources.retailrocket import RetailRocketSource
from recsys.events.sources.yoochoose import YooChooseSource
from recsys.settings.raw_files import SourceSettings
from recsys.settings.source import DemoSource, FilesSource

_Any = DemoSource | FilesSource | RetailRocketSource | YooChooseSource | AmazonReviewsSource | MovieLensSource

Source = Annotated[_Any, Field(discriminator="type")]
"""The section `source`: which of them is meant is said by its `type`."""

SOURCES: dict[str, type[SourceSettings]] = {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(_Any)}
"""Every source's settings by its type."""
