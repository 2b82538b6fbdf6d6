"""What the columns of a user's table mean, by their names: scan, patient, split, metadata, labels, probabilities.

Names are compared in lower case, with everything but letters and digits as one dash: "Patient ID" is patient_id.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

ALIASES = {
    "scan": "scan image scan_id image_id imageid image_index img file filename file_name image_path image_file "
    "img_path filepath file_path path dicom_id dicom sopinstanceuid sop_instance_uid image_name name id",
    "patient": "patient patient_id patientid patient_key subject subject_id subjectid",
    "split": "split subset partition dataset_split set",
    "age": "age patient_age patientage age_years age_at_study patient_age_years",
    "sex": "sex gender patient_sex patientsex patient_gender patientgender sex_dicom patientsex_dicom",
    "view": "view view_position viewposition viewposition_dicom projection ap_pa frontal_lateral",
    "scanner": "scanner scanner_model manufacturer manufacturer_dicom manufacturer_model_name "
    "manufacturermodelname vendor device site hospital institution",
}
METADATA = ("age", "sex", "view", "scanner")
ROLES = {alias: (role, place) for role, words in ALIASES.items() for place, alias in enumerate(words.split())}
LABELS = ("label", "labels", "y_true", "true", "truth", "ground_truth", "gt", "target", "actual", "y")
PROBABILITIES = (
    *("probability", "probabilities", "prob", "proba", "y_score", "y_prob", "y_proba", "y_pred", "score", "pred"),
    *("prediction", "predicted", "sigmoid", "softmax", "output", "confidence", "p"),
)
LISTS = ("finding_labels", "findings", "labels", "label", "class", "diagnosis", "y_true", "true", "target", "truth")
DECISIONS = {
    f"{word}_{what}" for word in ("predicted", "pred", "prediction") for what in ("class", "label", "labels", "index")
}
POSITIVE = "positive"  # the class of a table that names none


@dataclass
class Columns:
    """The columns of one table. Classes are {key: (name, column)}; the names of `plain` columns explain nothing."""

    roles: dict[str, str] = field(default_factory=dict)
    labels: dict[str, tuple[str, str]] = field(default_factory=dict)
    probabilities: dict[str, tuple[str, str]] = field(default_factory=dict)
    listed: str = ""  # a column whose cells name classes
    unused: dict[str, str] = field(default_factory=dict)  # {column: the one that is used instead}
    alike: tuple[str, ...] = ()  # two columns of the same meaning, neither more usual
    plain: dict[str, tuple[str, str]] = field(default_factory=dict)


def key(name: str) -> str:
    """ "Pleural Effusion " -> "pleural_effusion"."""
    return re.sub(r"[^0-9a-z]+", "_", str(name).casefold()).strip("_") or str(name).strip()


def understand(columns: Iterable[str]) -> Columns:
    """Sorts the columns of a table by their names; where two names mean the same, the more usual one is used."""
    found, best = Columns(), {}

    def place(known: dict, kind: str, name: str, rank: int, column: str) -> None:
        own = key(name)
        if own in known and best[kind, own] == rank:
            found.alike = found.alike or (known[own][1], column)
        if own not in known or rank < best[kind, own]:
            if own in known:
                found.unused[known[own][1]] = column
            best[kind, own], known[own] = rank, (name, column)
        else:
            found.unused[column] = known[own][1]

    for column in columns:
        own = key(column)
        if own in ROLES:
            role, rank = ROLES[own]
            if role not in best or rank < best[role]:
                best[role], found.roles[role] = rank, column
            continue
        if own in DECISIONS:
            continue
        if own in (*LABELS, *PROBABILITIES, *LISTS):
            found.plain.setdefault(own, (column.strip(), column))
        elif named := _affixed(column, PROBABILITIES):
            place(found.probabilities, "probability", *named, column)
        elif named := _affixed(column, LABELS):
            place(found.labels, "label", *named, column)
        else:
            found.plain.setdefault(own, (column.strip(), column))
    found.listed = next((found.plain[word][1] for word in LISTS if word in found.plain), "")
    return found


def _affixed(column: str, words: tuple[str, ...]) -> tuple[str, int] | None:
    """(the rest of a column's name that begins or ends with one of the words and a mark, the place of that word)."""
    for word in sorted(words, key=len, reverse=True):
        spelled = word.replace("_", "[_ .-]?")
        for pattern in (rf"{spelled}[_ .:/-]+(.+)", rf"(.+?)[_ .:/-]+{spelled}", rf"{spelled}\((.+)\)"):
            if match := re.fullmatch(pattern, column.strip(), flags=re.IGNORECASE):
                return match[1].strip(), words.index(word)
    return None


def binary(columns: Columns) -> tuple[str, str]:
    """(the column of labels, that of scores) of a table that names no class; empty if there is none."""
    return tuple(
        next((columns.plain[word][1] for word in words if word in columns.plain), "")
        for words in (LABELS, PROBABILITIES)
    )
