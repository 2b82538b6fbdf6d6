"""The inputs of a result, as SHA-256: with equal hashes nothing is computed again.

preparation/made_from.py hashes what a prepared dataset was made from, study/made_from.py a run, and study/freshness.py
the notebooks of a report.

Neither dates nor paths count: a copied folder is recognised anywhere, and a changed byte is noticed. Inputs that are
missing (a source that a colleague kept, the prepared dataset of a run) are assumed unchanged.

The version of the code is a hash of the modules that decide numbers, as Python parses them: a line that computes
something else counts. Text for readers does not (`syntax`): comments, docstrings, line breaks, imports, annotations,
the words of errors, warnings and printed lines, and which of these modules holds a definition. A version number set by
hand would be forgotten at some point, and tables would mix runs of two versions.
"""

import ast
import builtins
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lungkeras.system import errors
from lungkeras.system.untrusted import json_files
from lungkeras.system.untrusted.plain_files import size_of

PACKAGE = Path(__file__).resolve().parents[1]
# {hash of code: hashes of earlier code that computes the same numbers}. An entry expires by itself: once that
# code computes something else, it has another hash.
EARLIER_CODE = {
    "7844bb9705a4b278885a7c376321ef1ff70cc7863b7beb37421a37eec62c04cf": (
        "a15a891be40f6f614c04e78ef0b235f1d7b40571b310aaaefc37121abaefe970",
        "fff7d97e26ded035d47d86e5cbf9fb69c187b621aeb494d9c5179835db947bc8",
        "85732421a33eee721537188ea8713acc94a55f635993a3b2dd775b33c8df79d4",
        "787e2c228d08d08d39f2a10218c4785a38e10fae41e79e8531b933988d69f248",
        "39f10251d34c4ecd0bd87f1b2212140c448b34592377d6c09928dc866898e670",
        "83868b3ee224b1d3110901625d71a753c79722c2b6febf58cee6ae7db438aed1",
        "ecad9b54bc2985d7acb910171147f3343bd3f47a1e46374d6d28f1d62b3102de",
        "b6f4217ad79e1fdfc39c5f33e68d7b735de436e80274dad7d48c4a75392b9175",
        "74194a8046430c2d0fceadfdc8289d4b9069d94d8d25fa4c5f8d6971d69d6998",
        "787518eb687cfe618280b038bcc1946b7322df3eddcb062a5d1548df46379a20",
        "03fe4ef6a3bc8fc50b9c161064ef350803e6dc38dc002d7e89a68f5ef08e7b50",
        "33767b2c48e506a0a2c9b94778fe06b0b8231812132d18bf81359f932773ae85",
    ),
    "e61d48000227fae20e6d4c52af6b193c943b4404070a2187111cac69ee40a284": (
        "89d1d39b6687971c04e04cc13ffe48cb8f0759a304c5ff14f394cea3c76d3d04",
        "ea1c22fbdcb3012df1a4f4be407e765bf97417449029e84539b4cff89e2333ff",
        "ff3e2e55b662aa85f8fb354d791f117df7ee9deb85e82cff55c004ae080f2c32",
        "998fd91341dfcea295e537743e614f090db8c96158015d477cdc1c4644a2f5ce",
        "5f2727f42e052cbdf5c2e1cbc852ea658dfc29b03ed713dfef5cf429d024aaae",
        "4f5dd3a6eef6ae2558382d6f3b2f4b66d8b31cc5c9d45fd1e404b98919dc02c6",
        "4b001d1b24c0e5b5d512e9368acfacb252ebd78dd51191e20760a3960916b815",
        "6533e2a82cc7eb3e6acfc979499f8aef8e5cceb21ff7d48d19674a6e1b2a0a42",
        "954dbaed3cf21209ad512eef44616cdc3a35f23cc39bfcf00db0bfc89d7563b7",
        "b2622c27e424d60afe9a92011ef7c4c6388b1266f4ab7ad54ea3c15d4806fa9d",
        "b7f644f144ff8ea8a68cf404cd441f02fa8a6083c4596a6536d9e139eb64fac4",
    ),
    "9f5f2eaaa8c47b6afbdd360e77f1b228c677fe4de14db540aee2a40361fe0afa": (
        "3b782f4f1a69fb00136b85b6a4c347c9394d51c6661122bca0a18bd833f0cb4b",
        "f8f2ea7582be99a130adceb4073c76cce3d4b964b24117454d9981c4a6b969b8",
        "4e839328ef1163a29d80c6a92f3505fe52bb82698df3919428ea063075ef6348",
        "4e3004365eeaf7abea3d560cc6a24f5bc134b54a154c97af8d57b728a7e37fcd",
        "e463c65aa4bf905218dd69a016c80eee00cd2af6e0064b445422c349f1344c4a",
        "e64233f67b14396d23412bbeb37f99d5db895bc543f0e34568b17bc38a01842c",
        "c02fe006c060865d2eca9e2a2df368a94b03137bfd7cc818739b158ddb7401de",
        "9a26673e023e2cfd277e989c618babe26b08b5bac6de6d54ad967a1ad0291d8d",
        "65b9bcdda0bff20e83a310eb05313628237c2c2b64bdf16ce31834e9854ed90b",
        "4eba6fd5f005a4e34958f1af0b3b81df8c9fcb6b6e008a42c773699957cd9f5a",
        "ffcd462921d767d035648496c2952bcf054f66ca72b2e2ed15a7a58f19e5ffa2",
    ),
    "4aff471d1985460b74f512ff8bdfa055736b67d10b401201d01fe875bb835c03": (
        "5bba1ab816e397ef7dfbbc3ad233476927d3e8c4097b12429ee812ebdd92a8aa",
        "2e9efcb4af77c368f98e89f07181fc58bf0c78e6646d8ad4520473323b722607",
        "f2dae48f6af42e5eecdb18dffff5992fd7e990967f8ba8919bad9500af979ffb",
        "071023a761251ae602c7d489a5a5c2e430cf19c7b8c29ee9036a6f8a95cfce85",
        "f21602b93bc42db693c1ae41fa43d149d251a98d20c30a236ad4977d8e04f212",
        "f20741da4616ad462f70ae3a1a37dc3fef1472b720cb4eedb0218ec9c876947e",
        "2a859bab3d5550c5085e5145d6e1be50d8d99d24ae3c6e7c4872160d28c080b9",
        "e7e6fbfd8b133064565b30c92607c64609ffabbf5765fdce7ef7f0a17447973e",
        "f656b54c8082f5ac14489c91b83eb656402a68f15b30055778e8e832299d9ba2",
        "904756f93d248867708301c0ac173481cc49af15a9ae979050e575d2e833c707",
        "ba87f1c841825b12f6c27d8781b7625527afbd35d09d20ce6d9a1a5c555fd15d",
    ),
    "acefc66551a2b01eab12eb13eafd4326dc843c5de1e9227e5ccb8b8017786d15": (
        "69310442cafcf6b5dfa7c93661d87cc66596b9f379125e42c63bb55d3e632f48",
        "09bfaa0f06ca2729b146c70a11cbcbaab700858ca63758336c509c72e201f571",
    ),
    "1d7a99b7b1067a0fff28685e78ae34aaedfd44f8f931e08ca87cda7fb514c01e": (
        "d71458161c0f994a795e008aa9a5ed10ee0e50407867d8e6b6f11d93431551d1",
        "23d39a78a86fa7a9e0c7781db4bbab3de7d11df6b66bf82c58d85042d3e89885",
    ),
    "ccc0b54d918f97615b72d59fc33e8dba8183cc64a7d026836845ebaa20d28a08": (
        "2ff47ffc7b13958a6139d156d7bd655f691734161ac3ecda1c740098f2e34a46",
        "6de1fbb67783a3242d3dea26d9297dae0f7278b523ebc8479afadd05f136c0f6",
    ),
    "abc3ba60ec87a8d67a597c9ad917cc0dd5383d8a073128776bbd0e16d4388504": (
        "ef41ee6dbe64d7cea64b979f3ce7b0a98341b036013228350f839840c2f57cc3",
        "6937b7affd76a588a174dfc4f6ccdb4e23e5e6d739963d51ca5ef51387e51e55",
    ),
    "576e05e9613f07be1a28cb7700fa4690990f873dc9f8b8f2353d11c1f9fce080": (
        "dfa76b02916f9217727d8ab3420568ffc34e57086e53fa287987e87e884e9e11",
        "86b44c78f7f1c0c282f0df04488efa0f87d583b1d62d71c66f6773624605357c",
    ),
    "53ca3fc37e202dd5fc5fdff3a6da632cbd7725f865d008dff7464d3a78bd329d": (
        "1e9932d030540ffdf6c0cdc071d49762e875b582dc37f770b97d1a2ccac8a18b",
        "a1f5b329da31833143885469d48ecda09cd417e860763335c913234f8687c5c6",
    ),
    "cc76fcffcc73c474bdf5ee23bc8eb49bd3c52c944a1d6f7cd6776ab83966f411": (
        "57a96e217e8d0a7b9353c356f4818694a677c838a2e01ffbe30bcf14977d02c0",
    ),
    "56666dff3d2a265c57aad8c4c545a296c78709bd0e54381af7c6fe927195f45d": (
        "b3841760bf9ee0e6405b210901efb8ac4a9fedd0f2513025c1d8148fb155a279",
    ),
}
SAME_NUMBERS = {old: now for now, earlier in EARLIER_CODE.items() for old in earlier}
EXCEPTIONS = {
    name
    for name, value in (vars(builtins) | vars(errors)).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}
OWN_FILE = re.compile(r"\w{1,40}\.[a-z0-9]{1,10}")  # in the folder itself
# Readers within bounds, by the module whose function of the same name they replace: numbers are the same.
WITHIN_BOUNDS = {"json_files": "json", "table_files": "pd", "array_files": "np"}
# Fields of a collection's entry for readers, and for drawing.
WORDS_OF_AN_ENTRY = ("title", "titles", "handle", "citation", "layout", "holds", "phantom", "datasheet")
WORDS_OF_AN_ENTRY += ("releases", "scans", "lists", "label_unit", "patients", "names", "page", "gate")
LOGGING = {"warn", "debug", "info", "warning", "error", "exception", "critical", "log"}


def digest(*parts: str) -> str:
    """SHA-256 of texts, in hexadecimal; ("a", "b") and ("ab",) differ."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises OSError, also for a pipe or a device."""
    size_of(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_digest(modules: Iterable[str]) -> str:
    """SHA-256 of modules of the package as Python parses them, without words for readers; the same for every Python.

    The order of modules does not count: a definition that moves from one of these modules to
    another, or with its module to another folder, is the same code.
    """
    trees = (ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8")) for name in modules)
    return digest(*sorted(_as_text(statement) for tree in trees for statement in _Words().visit(tree).body))


def syntax(tree: ast.AST) -> str:
    """A syntax tree as text, without parts that affect no number; the tree is changed in place.

    Left out are imports, docstrings, annotations, statements that print, warn, log or track, the arguments of
    exceptions (their classes stay, as these decide who catches them), messages of assertions, descriptions of progress
    bars, what the entry of a dataset says to readers, texts that only these used, positions in the file, and fields
    that are empty and exist only in newer Pythons.
    """
    return _as_text(_Words().visit(tree))


def _as_text(node: object) -> str:
    if isinstance(node, list):
        return f"[{','.join(map(_as_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    return f"{type(node).__name__}({','.join(f'{name}={_as_text(value)}' for name, value in fields.items())})"


class _Words(ast.NodeTransformer):
    """Removes what `syntax` leaves out."""

    def visit_Import(self, node):
        return None

    def visit_ImportFrom(self, node):
        return None

    def visit_Name(self, node):
        node.id = WITHIN_BOUNDS.get(node.id, node.id)
        return node

    def visit_If(self, node):
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else self.generic_visit(node)

    def visit_Expr(self, node):
        return None if _is_text(node.value) or _is_output(node.value) else self.generic_visit(node)

    def visit_Raise(self, node):
        node.cause = None
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node):
        if _last_name(node.func) in EXCEPTIONS:  # made here, raised elsewhere
            return self.visit(node.func)
        words = WORDS_OF_AN_ENTRY if _last_name(node.func) == "Dataset" else ("description",)
        node.keywords = [keyword for keyword in node.keywords if keyword.arg not in words]
        return self.generic_visit(node)

    def visit_Assert(self, node):
        node.msg = None
        return self.generic_visit(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        node.annotation = None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node):
        node.returns = None
        self.generic_visit(node)
        texts = {id(text): text.targets[0].id for text in ast.walk(node) if _names_a_text(text)}
        while texts:
            kept = [part for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)]
            unused = {place for place, name in texts.items() if name not in {part.id for part in kept}}
            if not unused:
                break
            _Without(unused).visit(node)
            texts = {place: name for place, name in texts.items() if place not in unused}
        return node

    visit_AsyncFunctionDef = visit_FunctionDef


class _Without(ast.NodeTransformer):
    """Removes statements, by their identity."""

    def __init__(self, places: set[int]):
        self.places = places

    def visit_Assign(self, node):
        return None if id(node) in self.places else node


def _last_name(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _is_output(node: ast.AST) -> bool:
    """Whether an expression prints, warns, logs or tracks: say(...), warnings.warn(...), trackers.epoch(...)."""
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        if _last_name(node.func.value) == "trackers":
            return True
        return _last_name(node.func.value) in ("warnings", "logging", "logger") and node.func.attr in LOGGING
    return _last_name(node.func) in ("print", "say")


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _names_a_text(node: ast.AST) -> bool:
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
        return False
    return _is_text(node.value)


def changed_files(folder: Path, recorded: Mapping[str, str]) -> dict[str, str | None]:
    """The files of a folder that no longer have their recorded hash, with the file that had the new hash.

    {"val.npy": "test.npy", "test.npy": "val.npy"} if two were swapped; None if no file had it. Entries that are not
    plain file names, as a copied folder may hold them, are left out.
    """
    recorded = {name: value for name, value in pairs(recorded) if OWN_FILE.fullmatch(name)}
    now = {name: file_digest(folder / name) for name in recorded if (folder / name).is_file()}
    owner = {value: name for name, value in recorded.items()}
    return {name: owner.get(value) for name, value in now.items() if value != recorded[name]}


def pairs(recorded: object) -> list[tuple[str, str]]:
    """The pairs of texts in the content of a file of hashes, which may be a stranger's."""
    held = recorded.items() if isinstance(recorded, dict) else ()
    return [pair for pair in held if all(isinstance(word, str) for word in pair)]


def read(file: Path) -> dict:
    """A JSON file of hashes; empty if it is missing or broken."""
    try:
        held = json_files.read(file)
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def agree(recorded: Mapping[str, str], now: Mapping[str, str | None]) -> bool:
    """Whether all available inputs have their recorded hash, or one of equivalent code."""
    return all(
        value is None or recorded.get(key) == value or SAME_NUMBERS.get(recorded.get(key)) == value
        for key, value in now.items()
    )
