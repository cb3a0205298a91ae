"""What the demo shop's items are called, and its category tree: department, branch, leaf.

An item's name tells where it stands: the finish is its shelf, the noun its leaf, and the models of a shelf are in alphabetical order, so
that a visitor who browses along a shelf can be seen to do so. The log does not depend on any of it.
"""

from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from recsys.events.sources.demo import LEAVES_A_BRANCH, SHELVES_A_LEAF, build_shop
from recsys.files import whole_file
from recsys.settings.source import DemoSource

# Department, branch and its leaves, each as the category is called and as one of its items is.
_RANGE = {
    "Home": {
        "Kitchen": (("Pans", "pan"), ("Bowls", "bowl"), ("Kettles", "kettle"), ("Knives", "knife")),
        "Lighting": (("Desk lamps", "desk lamp"), ("Floor lamps", "floor lamp"), ("Lanterns", "lantern"), ("Candles", "candle")),
        "Bedroom": (("Pillows", "pillow"), ("Blankets", "blanket"), ("Bedside tables", "bedside table"), ("Wardrobes", "wardrobe")),
        "Bathroom": (("Towels", "towel"), ("Mirrors", "mirror"), ("Soap dishes", "soap dish"), ("Bath mats", "bath mat")),
    },
    "Clothing": {
        "Knitwear": (("Jumpers", "jumper"), ("Cardigans", "cardigan"), ("Scarves", "scarf"), ("Hats", "hat")),
        "Shirts": (("Blouses", "blouse"), ("T-shirts", "T-shirt"), ("Polo shirts", "polo shirt"), ("Vests", "vest")),
        "Shoes": (("Boots", "boots"), ("Trainers", "trainers"), ("Sandals", "sandals"), ("Slippers", "slippers")),
        "Outdoor clothing": (("Raincoats", "raincoat"), ("Fleeces", "fleece"), ("Gloves", "gloves"), ("Walking socks", "walking socks")),
    },
    "Leisure": {
        "Cycling": (("Bicycles", "bicycle"), ("Helmets", "helmet"), ("Panniers", "pannier"), ("Bicycle lights", "bicycle light")),
        "Camping": (("Tents", "tent"), ("Sleeping bags", "sleeping bag"), ("Camping stoves", "camping stove"), ("Flasks", "flask")),
        "Music": (("Guitars", "guitar"), ("Ukuleles", "ukulele"), ("Drums", "drum"), ("Headphones", "headphones")),
        "Games": (("Board games", "board game"), ("Puzzles", "puzzle"), ("Card games", "card game"), ("Dice", "set of dice")),
    },
    "Garden": {
        "Plants": (("Roses", "rose"), ("Herbs", "herb"), ("Ferns", "fern"), ("Bulbs", "bag of bulbs")),
        "Garden tools": (("Spades", "spade"), ("Rakes", "rake"), ("Secateurs", "secateurs"), ("Watering cans", "watering can")),
        "Garden furniture": (("Benches", "bench"), ("Deck chairs", "deck chair"), ("Parasols", "parasol"), ("Hammocks", "hammock")),
        "Birds": (
            ("Bird tables", "bird table"),
            ("Nest boxes", "nest box"),
            ("Bird baths", "bird bath"),
            ("Bird food", "bag of bird food"),
        ),
    },
}
_FINISHES = ("Blue", "Green", "Natural", "Red", "White")
"""One a shelf."""
_BEGINNINGS = ("Al", "Be", "Co", "Da", "El", "Fa", "Gri", "Ha", "Il", "Jo", "Ka", "Lu", "Mo", "Ni", "Or", "Pe", "Ro", "Sa", "Ti", "Vi")
_ENDINGS = ("ba", "da", "fen", "go", "lin", "mar", "na", "ra", "sten", "vik")
_MODELS = tuple(beginning + ending for beginning in _BEGINNINGS for ending in _ENDINGS)
"""In alphabetical order, and more of them than a shelf has items."""


def write_demo_catalogue(settings: DemoSource, items: Path, categories: Path) -> None:
    """Write the demo shop's item file (`item`, `name`, `category`) and its category file (`category`, `parent`), both CSV.

    The same settings give the same bytes. Names are unique, and so are categories: words that are used up come again with a number.
    """
    shop = build_shop(settings)
    leaves = pl.DataFrame(
        [_leaf(leaf) for leaf in range(len(shop.bounds) - 1)], schema=["department", "branch", "leaf", "noun", "round"], orient="row"
    )
    size = np.diff(shop.bounds)
    leaf = np.repeat(np.arange(len(size)), size)
    place = shop.place - shop.bounds[leaf]
    shelf = place * SHELVES_A_LEAF // size[leaf]
    position = place - -(-shelf * size[leaf] // SHELVES_A_LEAF)
    length = -(-(shelf + 1) * size[leaf] // SHELVES_A_LEAF) - -(-shelf * size[leaf] // SHELVES_A_LEAF)
    named = leaves[leaf].select(
        pl.Series("item", shop.ids),
        pl.concat_str(
            pl.Series("finish", _FINISHES).gather(shelf),
            "noun",
            # Spread over the alphabet.
            pl.Series("model", _MODELS).gather(position * len(_MODELS) // length),
            "round",
            separator=" ",
            ignore_nulls=True,
        ).alias("name"),
        pl.col("leaf").alias("category"),
    )
    tree = pl.concat(
        [
            leaves.select(pl.col("department").alias("category"), pl.lit(None, pl.String).alias("parent")),
            leaves.select(pl.col("branch").alias("category"), pl.col("department").alias("parent")),
            leaves.select(pl.col("leaf").alias("category"), pl.col("branch").alias("parent")),
        ]
    ).unique(maintain_order=True)
    for table, path in ((named, items), (tree, categories)):
        with whole_file(path) as partial:
            table.write_csv(partial)


def _leaf(number: int) -> tuple[str, str, str, str, str | None]:
    """Department, branch, leaf, noun, and the number of the time that the words are used, of a leaf of the shop."""
    # One branch of each department after the other, so that a small shop has something of all.
    branches = list(
        chain.from_iterable(zip(*([(department, branch) for branch in held] for department, held in _RANGE.items()), strict=True))
    )
    branch_number, twig = divmod(number, LEAVES_A_BRANCH)
    again, which = divmod(branch_number, len(branches))
    department, branch = branches[which]
    leaf, noun = _RANGE[department][branch][twig]
    if not again:
        return department, branch, leaf, noun, None
    return department, f"{branch} {again + 1}", f"{leaf} {again + 1}", noun, str(again + 1)
