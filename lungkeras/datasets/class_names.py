"""Short names of classes for columns, and which class is the one without a finding."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from lungkeras.datasets.own_labels import plain
from lungkeras.datasets.records import EXTRAS

CLEAR = ("normal", "no finding", "no findings", "healthy", "negative", "clear", "none")  # the class without a finding
LONGEST_SLUG = 40
# Names with another meaning in records, tables or readers: such a class is called <name>_class.
TAKEN = {"scan", "path", "patient", "label", "labels", "split", "group", "image", "scans", "patients", "all", "class"}
TAKEN |= {"dataset", "run", "kind", "other", "found", "kept", *EXTRAS}
NO_NAMES = {"na", "nan", "nat", "null", "none", "true", "false", "inf", "infinity"}  # which tables read as no text


def slugs(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """{short name: name}: of ASCII letters, digits and underscores, each once, and none that is taken.

    >>> list(slugs(["Pleural effusion", "COVID-19", "covid 19", "1", "Ödem/Stauung", "肺炎", "View"]))
    ['pleural_effusion', 'covid_19', 'covid_19_2', 'class_1', 'odem_stauung', 'class_6', 'view_class']
    """
    found: dict[str, str] = {}
    for place, name in enumerate(names, start=1):
        letters = (sign for sign in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(sign))
        text = re.sub(r"\W+", "_", "".join(letters)).encode("ascii", "ignore").decode()
        text = re.sub(r"[^a-z0-9]+", "_", text).strip("_")[:LONGEST_SLUG].strip("_") or f"class_{place}"
        text = f"class_{text}" if text[0].isdigit() or text in NO_NAMES else text
        text = f"{text}_class" if text in TAKEN else text
        slug, number = text, 2
        while slug in found or slug in taken:
            slug, number = f"{text}_{number}", number + 1
        found[slug] = name
    return found


def distinct(names: Iterable[str]) -> list[str]:
    """The names, sorted, one for each distinct class."""
    return [name for _, name in sorted({plain(name): name for name in sorted(set(names), reverse=True)}.items())]


def clear_class(classes: Mapping[str, str]) -> str:
    """The class of scans without a finding, by its name; "" if there is none."""
    names = {plain(name).replace("_", " "): slug for slug, name in classes.items()}
    return next((names[word] for word in CLEAR if word in names), "")
